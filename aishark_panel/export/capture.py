"""Packets as capture files: the frames of chosen rows become pcap or pcapng.

A packet whose frame the agent kept, or that was read back from columns, becomes a record of no bytes with its time and
its length on the wire.
"""

import platform
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from aishark_panel import __version__
from aishark_panel.errors import ConfigError
from aishark_panel.export.tables import Rows, Sink
from aishark_panel.wire.frames import MAX_FRAME_BYTES, Frames
from aishark_panel.wire.gather import gather
from aishark_panel.wire.packets import Interface, Packets
from aishark_panel.wire.pcapheaders import CaptureInterface, Section
from aishark_panel.wire.pcapwrite import PcapngWriter, PcapWriter

__all__ = ["Described", "PcapExport", "PcapngExport", "capture_interface", "gather_frames"]

Described = Callable[[], Sequence[CaptureInterface]]
"""gives the interfaces known now, indexed by the packets' `iface`; later there may be more at the end"""

_CHUNK_BYTES: Final = 8 * 2**20
"""frame bytes gathered at once, so that memory does not depend on how many rows are written"""


def capture_interface(interface: Interface) -> CaptureInterface:
    """What a capture file says of a session's interface: agent/name, or the name alone where no agent is named."""
    name = f"{interface.agent}/{interface.name}" if interface.agent else interface.name
    return CaptureInterface(link_type=interface.link_type, name=name, snaplen=MAX_FRAME_BYTES)


def gather_frames(packets: Packets, rows: Rows) -> Iterator[Frames]:
    """The frames of some rows of a block, in their order, copied together in batches of about 8 MiB."""
    lengths = packets.columns.cap_len[rows].astype(np.int64) * bool(packets.arena)
    ends = np.cumsum(lengths)
    start = 0
    while start < len(rows):
        before = int(ends[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + _CHUNK_BYTES, side="right")))
        yield _gather(packets, rows[start:stop], np.concatenate([[0], ends[start:stop] - before]).astype(np.int32))
        start = stop


def _gather(packets: Packets, rows: Rows, offsets: npt.NDArray[np.int32]) -> Frames:
    positions = packets.columns.frame_pos[rows]
    bits = np.uint64(packets.arena_bits)
    pieces = positions >> bits
    starts = (positions & ((np.uint64(1) << bits) - np.uint64(1))).astype(np.int64)
    data = gather(packets.arena, pieces, starts, offsets)
    columns = packets.columns
    return Frames(columns.ts[rows], columns.orig_len[rows], columns.iface[rows], offsets, data)


class PcapExport:
    """A pcap file; it can hold one link type only, that of the first packet written."""

    def __init__(self, sink: Sink, described: Described) -> None:
        self._sink, self._described = sink, described
        self._link_type: int | None = None

    def write(self, packets: Packets, rows: Rows) -> None:
        """Write frames. Raises ConfigError at the first of another link type."""
        interfaces = self._described()
        for frames in gather_frames(packets, rows):
            link_types = {interfaces[int(i)].link_type for i in np.unique(frames.iface)}
            if self._link_type is None:
                self._link_type = interfaces[int(frames.iface[0])].link_type
                writer = self._writer = PcapWriter(self._link_type)
                self._sink.write(writer.header())
            if link_types != {self._link_type}:
                names = ", ".join(map(str, sorted(link_types | {self._link_type})))
                raise ConfigError(f"these packets have several link types ({names}); .pcap holds one: write .pcapng")
            self._sink.write(self._writer.frames(frames))

    def close(self) -> None:
        """End the file; without packets it has the link type of the first interface."""
        if self._link_type is None:
            interfaces = self._described()
            self._sink.write(PcapWriter(interfaces[0].link_type if interfaces else 1).header())


class PcapngExport:
    """A pcapng file: an interface block per interface, in the order they are described, and what they dropped last."""

    def __init__(self, sink: Sink, described: Described, comment: str = "") -> None:
        self._sink, self._described = sink, described
        section = Section(
            comment=comment,
            hardware=platform.machine(),
            os=f"{platform.system()} {platform.release()}",
            application=f"aishark_panel {__version__}",
        )
        self._writer = PcapngWriter(described(), section=section)
        self._last_ts = 0
        sink.write(self._writer.header())

    def write(self, packets: Packets, rows: Rows) -> None:
        self._add_interfaces(self._described())
        for frames in gather_frames(packets, rows):
            self._sink.write(self._writer.frames(frames))
            self._last_ts = max(self._last_ts, int(frames.ts.max()))

    def close(self) -> None:
        """End the file with the counters of its interfaces, where they are known by now."""
        described = self._described()
        self._add_interfaces(described)
        for index, interface in enumerate(described):
            if interface.counters is not None:
                self._sink.write(self._writer.counters(index, interface.counters, self._last_ts))

    def _add_interfaces(self, described: Sequence[CaptureInterface]) -> None:
        for interface in described[len(self._writer.interfaces) :]:
            self._sink.write(self._writer.add_interface(interface))
