"""Capture files out: batches of Frames become bytes of pcap or pcapng. No files here, only buffers.

A file is `header()` followed by what `frames()` returns for each batch; a kernel lays out a whole batch at once. Both
formats are written little-endian with nanosecond times. A time the format cannot hold (before 1970; in pcap also after
7 February 2106) becomes the nearest it can.

The twin is aishark_panel.wire.pcapfile.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from aishark_panel.jit import kernel
from aishark_panel.wire.frames import MAX_FRAME_BYTES, Bytes, Frames
from aishark_panel.wire.pcapheaders import (
    ENHANCED_PACKET_TYPE,
    CaptureInterface,
    InterfaceCounters,
    PcapHeader,
    Section,
    emit_interface,
    emit_section,
)
from aishark_panel.wire.pcapnotes import emit_counters

__all__ = ["PcapWriter", "PcapngWriter", "whole_blocks"]

_RECORD_BYTES: Final = 16
_BLOCK_BYTES: Final = 32
_BILLION: Final = 1_000_000_000
_MAX_PCAP_NS: Final = (2**32 - 1) * _BILLION + 999_999_999


class PcapWriter:
    """Makes a pcap file: all frames have one link type, and which interface they came from is not kept."""

    def __init__(self, link_type: int, *, snaplen: int = MAX_FRAME_BYTES) -> None:
        self._header = PcapHeader.emit(link_type, snaplen)

    def header(self) -> bytes:
        """The bytes that open the file."""
        return self._header

    def frames(self, frames: Frames) -> bytes:
        """The records of a batch."""
        out = np.empty(frames.captured_bytes + _RECORD_BYTES * len(frames), np.uint8)
        _write_records(*_inputs(frames), out)
        return out.tobytes()


class PcapngWriter:
    """Makes a pcapng file of one section; `Frames.iface` indexes its interfaces in the order they were given."""

    def __init__(self, interfaces: Iterable[CaptureInterface] = (), *, section: Section | None = None) -> None:
        self.interfaces = list(interfaces)
        self._section = section or Section()

    def header(self) -> bytes:
        """The bytes that open the file: section, and the interfaces known at the start."""
        return emit_section(self._section) + b"".join(emit_interface(i) for i in self.interfaces)

    def add_interface(self, interface: CaptureInterface) -> bytes:
        """The block of one more interface; it must stand before the first of its frames."""
        self.interfaces.append(interface)
        return emit_interface(interface)

    def frames(self, frames: Frames) -> bytes:
        """The Enhanced Packet Blocks of a batch. Raises ValueError where a frame's interface was not given."""
        if len(frames) and int(frames.iface.max()) >= len(self.interfaces):
            raise ValueError(f"interface {int(frames.iface.max())} of frames was not given to the writer")
        padded = (np.diff(frames.offsets) + np.int32(3)) & np.int32(~3)
        out = np.empty(int(padded.sum(dtype=np.int64)) + _BLOCK_BYTES * len(frames), np.uint8)
        _write_blocks(*_inputs(frames), out)
        return out.tobytes()

    def counters(self, index: int, counters: InterfaceCounters, ts: int) -> bytes:
        """The Interface Statistics Block of an interface, as it stood at the time `ts` (ns); best after all frames."""
        return emit_counters(index, counters, max(ts, 0))


def whole_blocks(data: Bytes) -> int:
    """Bytes up to the end of the last whole block of what PcapngWriter wrote, and was perhaps killed while doing so."""
    view = data.view()
    view.flags.writeable = False
    return int(_whole_blocks(view))


def _inputs(frames: Frames) -> Iterator[npt.NDArray[Any]]:
    """The five arrays, read-only: to numba a writable one is another type, and costs another compilation."""
    for array in (frames.ts, frames.orig_len, frames.iface, frames.offsets, frames.data):
        view = np.ascontiguousarray(array).view()
        view.flags.writeable = False
        yield view


@kernel
def _put_u32(out: Bytes, at: int, value: int) -> None:
    out[at] = value & 0xFF
    out[at + 1] = value >> 8 & 0xFF
    out[at + 2] = value >> 16 & 0xFF
    out[at + 3] = value >> 24 & 0xFF


@kernel
def _write_records(
    ts: npt.NDArray[np.int64],
    orig_len: npt.NDArray[np.uint32],
    _iface: npt.NDArray[np.uint16],
    offsets: npt.NDArray[np.int32],
    data: Bytes,
    out: Bytes,
) -> None:
    at = 0
    for i in range(len(ts)):
        start, stop = int(offsets[i]), int(offsets[i + 1])
        cap_len = stop - start
        time_ns = min(max(int(ts[i]), 0), _MAX_PCAP_NS)
        _put_u32(out, at, time_ns // _BILLION)
        _put_u32(out, at + 4, time_ns % _BILLION)
        _put_u32(out, at + 8, cap_len)
        _put_u32(out, at + 12, int(orig_len[i]))
        at += _RECORD_BYTES
        source, target = data[start:stop], out[at : at + cap_len]
        for k in range(cap_len):  # compiled to a block copy, unlike an assignment of slices
            target[k] = source[k]
        at += cap_len


@kernel
def _write_blocks(
    ts: npt.NDArray[np.int64],
    orig_len: npt.NDArray[np.uint32],
    iface: npt.NDArray[np.uint16],
    offsets: npt.NDArray[np.int32],
    data: Bytes,
    out: Bytes,
) -> None:
    at = 0
    for i in range(len(ts)):
        start, stop = int(offsets[i]), int(offsets[i + 1])
        cap_len = stop - start
        padded = (cap_len + 3) & ~3
        time_ns = max(int(ts[i]), 0)
        _put_u32(out, at, ENHANCED_PACKET_TYPE)
        _put_u32(out, at + 4, _BLOCK_BYTES + padded)
        _put_u32(out, at + 8, int(iface[i]))
        _put_u32(out, at + 12, time_ns >> 32)
        _put_u32(out, at + 16, time_ns & 0xFFFFFFFF)
        _put_u32(out, at + 20, cap_len)
        _put_u32(out, at + 24, int(orig_len[i]))
        at += _BLOCK_BYTES - 4
        source, target = data[start:stop], out[at : at + cap_len]
        for k in range(cap_len):
            target[k] = source[k]
        for k in range(cap_len, padded):
            out[at + k] = 0
        at += padded
        _put_u32(out, at, _BLOCK_BYTES + padded)
        at += 4


@kernel
def _get_u32(data: Bytes, at: int) -> int:
    low, high = np.int64(data[at]) | np.int64(data[at + 1]) << 8, np.int64(data[at + 2]) | np.int64(data[at + 3]) << 8
    return low | high << 16  # type: ignore[return-value]


@kernel
def _whole_blocks(data: Bytes) -> int:
    at = 0
    while at + 12 <= len(data):
        length = _get_u32(data, at + 4)
        if length < 12 or length % 4 or length > len(data) - at or _get_u32(data, at + length - 4) != length:
            break
        at += length
    return at
