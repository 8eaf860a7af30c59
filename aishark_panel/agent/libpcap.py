"""Live capture by libpcap (cypcap), for systems without the kernel ring of capture.py: macOS, BSD, Windows (Npcap).

No Python runs for a packet: libpcap calls its own *dumper*, which writes pcap records to a file of some hundred
kilobytes at most, and our compiled reader takes them from there. That is also the only way to the full times: where
cypcap hands over packets it rounds them to what a float holds, a quarter of a microsecond.
"""

import contextlib
import os
import tempfile
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Final

import cypcap

from aishark_panel.agent.bpf import Endpoint, compile_on, own_traffic_filter
from aishark_panel.agent.source import SourceInterface
from aishark_panel.errors import CaptureError, CapturePermissionError, ConfigError
from aishark_panel.wire.frames import MAX_FRAME_BYTES, Frames
from aishark_panel.wire.pcapfile import CaptureReader
from aishark_panel.wire.pcapheaders import PCAP_HEADER_BYTES

__all__ = ["LibpcapCapture"]

_MOST_PACKETS: Final = 2_048
"""Packets asked for at once."""
_BUFFER_TIMEOUT_S: Final = 0.01
"""Age at which libpcap hands over what is less than a buffer."""
_POLL_S: Final = 0.01
"""How often packets are asked for where libpcap has no descriptor to wait on (Windows)."""
_LOOK_S: Final = 1.0
"""How often it is looked whether an interface that is silent is up."""
_HALT_S: Final = 1.0
"""Most time given to what is in libpcap's buffer when a capture is halted."""
_MIN_SNAPLEN: Final = 16
_PERMISSION: Final = (
    "capturing on {interface} needs rights that this process does not have: on Linux the capability CAP_NET_RAW, on "
    "macOS read access to /dev/bpf* (Wireshark's ChmodBPF gives it), on Windows Npcap without its restriction to "
    "administrators"
)


class LibpcapCapture:
    """Packets of one interface by libpcap; arguments and errors are LiveCapture's.

    `read` never waits: SeveralCaptures does, on `fileno`. Frames are cut by the reader, so the snaplen may shrink while
    it runs but not exceed what it was opened with. `any` is libpcap's own, where the system has it.
    """

    def __init__(
        self,
        interface: str,
        filter: str = "",
        snaplen: int = MAX_FRAME_BYTES,
        buffer_bytes: int = 64 << 20,
        promiscuous: bool = True,
        exclude: Iterable[Endpoint] = (),
        index: int = 0,
    ) -> None:
        if not _MIN_SNAPLEN <= snaplen <= MAX_FRAME_BYTES:
            raise ConfigError(f"snaplen is {snaplen}; it must be {_MIN_SNAPLEN} to {MAX_FRAME_BYTES} bytes")
        self._interface = interface
        self._index = index
        self._exclude = tuple(exclude)
        self._opened_snaplen = self._snaplen = snaplen
        self.condition = ""
        self.interrupted = False
        self._looked_s = time.monotonic()
        self._taken = self._dropped = self._last_drop = 0
        self._halted = False
        with contextlib.ExitStack() as undo:
            self._handle = undo.enter_context(_open(interface, snaplen, buffer_bytes, promiscuous))
            self._set_filter(filter)
            folder = undo.enter_context(tempfile.TemporaryDirectory(prefix="aishark-capture-"))
            path = Path(folder, "packets.pcap")
            # Appended to, the file can be emptied between two batches: what is written next is its beginning again.
            self._dumper = undo.enter_context(contextlib.closing(self._handle.dump_open_append(os.fspath(path))))
            self._dumper.flush()
            self._file = undo.enter_context(path.open("r+b", buffering=0))
            self._header = self._file.read(PCAP_HEADER_BYTES)
            self._file.truncate(0)
            self._reader = self._new_reader(snaplen)
            link_type = self._reader.interfaces[0].link_type
            self._opened = undo.pop_all()
        self.interfaces = [SourceInterface(name=interface, link_type=link_type, snaplen=snaplen, filter=filter)]
        self._descriptor = _descriptor(self._handle)
        self.poll_s = _POLL_S if self._descriptor < 0 else _LOOK_S

    def read(self, timeout_s: float = 0) -> Frames | None:
        """The packets that are there; their memory is valid until the next read. CaptureError once libpcap fails."""
        if (frames := self._reader.frames()) is None:
            if self._snaplen != self.interfaces[0].snaplen:
                self._snaplen = self.interfaces[0].snaplen
                self._reader = self._new_reader(self._snaplen)
            if not self._halted:
                self._dispatch()
            self._reader.feed(self._written())
            frames = self._reader.frames()
        now_s = time.monotonic()
        if frames is not None:
            self._looked_s = now_s
            self.interrupted, self.condition = False, ""
            self._taken += len(frames)
            frames.iface[:] = self._index
        elif not self._halted and now_s - self._looked_s >= _LOOK_S:
            self._look(now_s)
        return frames

    def adjust(self, capture_filter: str, snaplen: int) -> None:
        """Another filter and snaplen from now on. FilterError or ConfigError, and nothing has changed.

        libpcap gives no promise for packets that come while it swaps filters, here and at the start: those in the
        buffer it is filling it judges itself, and then a filter with `vlan` does not see tags beside the frame.
        """
        if not _MIN_SNAPLEN <= snaplen <= self._opened_snaplen:
            raise ConfigError(
                f"snaplen is {snaplen}; with libpcap a capture that runs can have {_MIN_SNAPLEN} to the "
                f"{self._opened_snaplen} bytes it was opened with: stop the capture, then start it"
            )
        self._dispatch()  # what came before: libpcap would judge it by the new filter
        self._set_filter(capture_filter)
        self.interfaces = [replace(self.interfaces[0], filter=capture_filter, snaplen=snaplen)]

    def halt(self) -> None:
        """Let no more packets in; read until None gives those that were captured before."""
        time.sleep(3 * _BUFFER_TIMEOUT_S)  # until the buffer that is being filled is handed over
        deadline_s = time.monotonic() + _HALT_S
        while self._dispatch() and time.monotonic() < deadline_s:
            pass
        self._halted = True

    def fileno(self) -> int:
        """Descriptor to poll; -1 where the system has none."""
        return self._descriptor

    def counters(self) -> dict[str, int]:
        """`matched`: packets taken and `kernel_dropped`; libpcap does not tell how many wait in its buffer."""
        if not self._file.closed:
            with contextlib.suppress(cypcap.Error):  # of an interface that is gone: the last known
                drop = self._handle.stats().drop
                self._dropped += (drop - self._last_drop) & 0xFFFFFFFF  # an unsigned int of C
                self._last_drop = drop
        return {"matched": self._taken + self._dropped, "kernel_dropped": self._dropped}

    def close(self) -> None:
        """Stop capturing; the counters keep their last values."""
        if not self._file.closed:
            self.counters()
            self._opened.close()

    def _dispatch(self) -> bool:
        """Let libpcap write packets to the file; whether there were any. CaptureError where the interface is gone."""
        before = self._file.seek(0, os.SEEK_END)
        try:
            self._handle.dispatch(_MOST_PACKETS, self._dumper.dump)
            self._dumper.flush()
        except cypcap.Error as error:
            raise CaptureError(f"interface {self._interface}: {error.msg}; it is waited for") from error
        return self._file.seek(0, os.SEEK_END) > before

    def _written(self) -> bytes:
        self._file.seek(0)
        records = self._file.readall()
        self._file.truncate(0)
        return records

    def _new_reader(self, snaplen: int) -> CaptureReader:
        reader = CaptureReader(snaplen=snaplen)
        reader.feed(self._header)
        reader.frames()
        return reader

    def _set_filter(self, capture_filter: str) -> None:
        expression = own_traffic_filter(capture_filter, self._exclude)
        self._handle.setfilter(compile_on(self._handle, expression, self._interface, self._exclude))

    def _look(self, now_s: float) -> None:
        self._looked_s = now_s
        flags = {device.name: device.flags for device in cypcap.findalldevs()}
        if self._interface not in flags:
            raise CaptureError(f"interface {self._interface} is gone; it is waited for")
        self.interrupted = not flags[self._interface] & cypcap.PcapIfFlags.UP
        self.condition = f"interface {self._interface} is down; it is waited for" if self.interrupted else ""


def _open(interface: str, snaplen: int, buffer_bytes: int, promiscuous: bool) -> cypcap.Pcap:
    handle = cypcap.create(interface)
    try:
        handle.set_snaplen(snaplen)
        handle.set_promisc(promiscuous and interface != "any")
        handle.set_buffer_size(min(buffer_bytes, 2**31 - 1))
        handle.set_timeout(_BUFFER_TIMEOUT_S)
        with contextlib.suppress(cypcap.Error):  # else microseconds
            handle.set_tstamp_precision(cypcap.TstampPrecision.NANO)
        handle.activate()
        handle.setnonblock(True)
    except cypcap.Error as error:
        handle.close()
        if error.code in (cypcap.ErrorCode.PERM_DENIED, cypcap.ErrorCode.PROMISC_PERM_DENIED):
            raise CapturePermissionError(_PERMISSION.format(interface=interface)) from error
        if error.code == cypcap.ErrorCode.NO_SUCH_DEVICE:
            names = ", ".join(device.name for device in cypcap.findalldevs())
            raise CaptureError(f"there is no interface {interface!r} here; there are: {names}") from error
        if error.code == cypcap.ErrorCode.IFACE_NOT_UP:
            raise CaptureError(f"interface {interface} is down; bring it up first") from error
        raise CaptureError(f"cannot capture on {interface}: {error.msg}") from error
    return handle


def _descriptor(handle: cypcap.Pcap) -> int:
    try:
        return int(handle.get_selectable_fd())
    except (AttributeError, cypcap.Error):  # Windows has none, and some devices neither
        return -1
