"""What a capture file is and holds, in the style of capinfos: one pass over it, nothing dissected."""

import datetime
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from aishark_panel.capturefile import CaptureFile, open_capture
from aishark_panel.wire.frames import Frames
from aishark_panel.wire.pcapheaders import CaptureInterface
from aishark_panel.wire.pcapnotes import CaptureNotes
from aishark_panel.wire.printable import printable

__all__ = ["CaptureInfo", "capture_info"]

_LISTED: Final = 20
"""Most interfaces, names and comments that are shown."""
_LINK_TYPES: Final = {
    0: "BSD loopback",
    1: "Ethernet",
    9: "PPP",
    10: "FDDI",
    101: "raw IP",
    104: "Cisco HDLC",
    105: "802.11",
    107: "Frame Relay",
    108: "OpenBSD loopback",
    113: "Linux cooked v1",
    127: "802.11 radiotap",
    147: "user 0",
    195: "802.15.4",
    227: "SocketCAN",
    228: "IPv4",
    229: "IPv6",
    239: "NFLOG",
    249: "USBPcap",
    276: "Linux cooked v2",
}
"""Names of the usual ones (tcpdump.org/linktypes.html)."""


@dataclass(slots=True)
class CaptureInfo:
    """What a capture file is and holds."""

    name: str
    packing: str
    notes: CaptureNotes
    interfaces: list[CaptureInterface]
    size_bytes: int | None
    """as it lies on disk; None for a pipe"""
    warning: str | None = None
    """what is damaged or cut at its end"""
    packets: int = 0
    captured_bytes: int = 0
    wire_bytes: int = 0
    first_ns: int | None = None
    """the earliest time; packets without a time of their own count as the packet before them"""
    last_ns: int | None = None
    in_order: bool = True
    """whether no packet is older than the one before it"""
    interface_packets: Counter[int] = field(default_factory=Counter)
    lost_between: list[int] = field(default_factory=list)
    """packets lost between those of each interface, as these say"""

    def text(self) -> str:
        """All of it for people, in lines."""
        lines = [f"{title + ':':<20}{value}" for title, value in self._summary() if value]
        for index in range(min(len(self.interfaces), _LISTED)):
            lines += self._interface_lines(index)
        lines += _more(len(self.interfaces), "interfaces")
        for title, pairs in (("Names", self.notes.names), ("Comments", self.notes.comments)):
            if pairs:
                lines.append(f"{title}:")
                lines += [f"  {key}  {printable(value)}" for key, value in list(pairs.items())[:_LISTED]]
                lines += _more(len(pairs), title.lower())
        return "\n".join(lines) + "\n"

    def _summary(self) -> list[tuple[str, str]]:
        section, notes = self.notes.section, self.notes
        link_types = Counter({i.link_type: 0 for i in self.interfaces})
        for index, packets in self.interface_packets.items():
            link_types[self.interfaces[index].link_type] += packets
        by_type = [f"{_link_type(link)}, {packets:,} packets" for link, packets in link_types.items()]
        seconds = 0.0
        if self.first_ns is not None and self.last_ns is not None:
            seconds = (self.last_ns - self.first_ns) / 1e9
        rate = f"{self.packets / seconds:,.1f} packets/s, {self.wire_bytes * 8 / seconds:,.0f} bit/s" if seconds else ""
        untimed = f"{notes.untimed:,} have none of their own; they count as the packet before"
        return [
            ("File", printable(self.name)),
            ("Format", notes.format + (f", packed with {self.packing}" if self.packing else "")),
            ("Link types", "; ".join(by_type)),
            ("File size", "" if self.size_bytes is None else f"{self.size_bytes:,} bytes"),
            ("Packets", f"{self.packets:,}"),
            ("Captured", f"{self.captured_bytes:,} bytes"),
            ("On the wire", f"{self.wire_bytes:,} bytes"),
            ("First packet", _time(self.first_ns)),
            ("Last packet", _time(self.last_ns)),
            ("Duration", f"{seconds:,.9f} s" if self.packets else ""),
            ("Rate", rate),
            ("Times", "" if self.in_order else "not in order"),
            ("Times missing", untimed if notes.untimed else ""),
            ("Sections", f"{notes.sections:,}" if notes.sections > 1 else ""),
            ("Hardware", printable(section.hardware)),
            ("Operating system", printable(section.os)),
            ("Application", printable(section.application)),
            ("File comment", printable(section.comment)),
            ("Packet comments", f"{notes.commented:,}" if notes.commented else ""),
            ("Damage", printable(self.warning or "")),
        ]

    def _interface_lines(self, index: int) -> list[str]:
        interface = self.interfaces[index]
        if not self.notes.sections:  # pcap has one, of which it says no more than the summary
            return [f"{'Snaplen:':<20}{interface.snaplen:,} bytes"]
        counters = interface.counters
        facts: list[tuple[str, str | int | None]] = [
            ("link type", _link_type(interface.link_type)),
            ("packets", self.interface_packets[index]),
            ("snaplen", interface.snaplen or None),
            ("description", interface.description or None),
            ("filter", interface.filter or None),
            ("operating system", interface.os or None),
            ("hardware", interface.hardware or None),
            ("comment", interface.comment or None),
            ("lost between its packets", self.lost_between[index] or None),
        ]
        if counters is not None:
            facts += [
                ("received", counters.received),
                ("dropped by the interface", counters.dropped),
                ("passed the filter", counters.accepted),
                ("dropped by the system", counters.dropped_by_system),
                ("delivered", counters.delivered),
                ("capture began", _time(counters.start_ns) or None),
                ("capture ended", _time(counters.end_ns) or None),
            ]
        title = f"Interface {index}:"
        lines = [f"{title:<20}{printable(interface.name) or 'without a name'}"]
        for name, fact in facts:
            if fact is not None:
                lines.append(f"  {name + ':':<26}{f'{fact:,}' if isinstance(fact, int) else printable(fact)}")
        return lines


def capture_info(path: str) -> CaptureInfo:
    """Read a capture file to its end and say what it is. Raises CaptureFileError where nothing of it can be read."""
    with open_capture(path) as file:
        info = CaptureInfo(file.name, "", file.notes, file.interfaces, file.bytes_total)
        for frames in file:
            _add(info, frames)
        info.notes, info.packing, info.warning = file.notes, file.packing, file.warning
        info.lost_between = _lost(file)
    return info


def _add(info: CaptureInfo, frames: Frames) -> None:
    info.packets += len(frames)
    info.captured_bytes += frames.captured_bytes
    info.wire_bytes += int(frames.orig_len.sum(dtype=np.int64))
    first, last = int(frames.ts.min()), int(frames.ts.max())
    in_order = bool((np.diff(frames.ts) >= 0).all()) and (info.last_ns is None or int(frames.ts[0]) >= info.last_ns)
    info.in_order = info.in_order and in_order
    info.first_ns = first if info.first_ns is None else min(first, info.first_ns)
    info.last_ns = last if info.last_ns is None else max(last, info.last_ns)
    counts = np.bincount(frames.iface)
    info.interface_packets.update({int(i): int(counts[i]) for i in np.flatnonzero(counts)})


def _lost(file: CaptureFile) -> list[int]:
    return [file.packet_drops(i) for i in range(len(file.interfaces))]


def _link_type(number: int) -> str:
    return f"{_LINK_TYPES[number]} ({number})" if number in _LINK_TYPES else f"link type {number}"


def _time(ns: int | None) -> str:
    if ns is None:
        return ""
    seconds, rest = divmod(ns, 10**9)
    moment = datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=seconds)
    return f"{moment:%Y-%m-%d %H:%M:%S}.{rest:09d} UTC"


def _more(count: int, what: str) -> list[str]:
    return [f"  and {count - _LISTED:,} more {what}"] if count > _LISTED else []
