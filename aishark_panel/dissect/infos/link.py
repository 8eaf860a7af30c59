"""Protocols between neighbours on a link: spanning tree, LLDP, EAPOL, PPPoE, and frames of which no more is known."""

from collections.abc import Iterator
from itertools import islice
from typing import Final

from aishark_panel.dissect.headers import number
from aishark_panel.dissect.infos.view import MAX_PARTS, View, address, mac, printable

__all__ = ["eapol", "ethernet", "llc", "lldp", "pppoed", "stp"]

_BPDU_TYPES: Final = {0: "Conf", 2: "RST"}
_EAPOL: Final = ("EAP", "Start", "Logoff", "Key", "Encapsulated ASF Alert")
_EAP_CODES: Final = {1: "Request", 2: "Response", 3: "Success", 4: "Failure"}
_EAP_TYPES: Final = {1: "Identity", 2: "Notification", 3: "Legacy Nak (Response Only)",
                     4: "MD5-Challenge EAP (EAP-MD5-CHALLENGE)", 13: "TLS EAP (EAP-TLS)",
                     18: "GSM Subscriber Identity Modules EAP (EAP-SIM)", 21: "Tunneled TLS EAP (EAP-TTLS)",
                     25: "Protected EAP (EAP-PEAP)",
                     43: "Flexible Authentication via Secure Tunneling EAP (EAP-FAST)"}  # fmt: skip
_PPPOE: Final = {0x09: "Initiation (PADI)", 0x07: "Offer (PADO)", 0x19: "Request (PADR)",
                 0x65: "Session-confirmation (PADS)", 0xA7: "Terminate (PADT)"}  # fmt: skip


def stp(view: View) -> str | None:
    """A bridge protocol data unit (IEEE 802.1D-2004 section 9.3)."""
    return _bpdu(view.payload[3:])  # after the LLC header


def _bpdu(data: bytes) -> str | None:
    if len(data) < 4:
        return None
    version, kind = data[2], data[3]
    if kind == 0x80:
        return "Topology Change Notification"
    if len(data) < 27 or kind not in _BPDU_TYPES:
        return None
    name = "MST" if kind == 2 and version >= 3 else _BPDU_TYPES[kind]
    changes = "TC + " if data[4] & 1 else ""
    priority = number(data, 5)
    root = f"{priority & 0xF000}/{priority & 0x0FFF}/{mac(data[7:13])}"
    return f"{name}. {changes}Root = {root}  Cost = {number(data, 13, 4)}  Port = 0x{number(data, 25):04x}"


def llc(view: View) -> str | None:
    """What Cisco sends after an LLC and SNAP header: per-VLAN spanning tree, CDP."""
    data = view.payload
    if data[:3] == b"\x42\x42\x03":
        return _bpdu(data[3:])
    if data[:6] != b"\xaa\xaa\x03\x00\x00\x0c":
        return None
    kind = number(data, 6)
    return _bpdu(data[8:]) if kind == 0x010B else _cdp(data[8:]) if kind == 0x2000 else None


def _cdp(data: bytes) -> str | None:
    """Device and port of a CDP message: type, length and value after four bytes."""
    at, found = 4, {}
    while at + 4 <= len(data) and number(data, at + 2) >= 4:
        found[number(data, at)] = printable(data[at + 4 : at + number(data, at + 2)])
        at += number(data, at + 2)
    names = {1: "Device ID", 3: "Port ID"}
    return "  ".join(f"{names[kind]}: {found[kind]}" for kind in names if kind in found) or None


def lldp(view: View) -> str | None:
    """Chassis, port, time to live, system name and description (IEEE 802.1AB)."""
    words = []
    for kind, value in islice(_lldp_fields(view.payload), MAX_PARTS):
        if kind in (1, 2) and value:
            words.append(_lldp_identifier(kind, value))
        elif kind == 3:
            words.append(str(number(value, 0)))
        elif kind == 5:
            words.append(f"SysN={printable(value)}")
        elif kind == 6:
            words.append(f"SysD={printable(value)}")
    return " ".join(words) or None


def _lldp_fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 2 <= len(data):
        head = number(data, at)
        if head >> 9 == 0:
            return
        yield head >> 9, data[at + 2 : at + 2 + (head & 0x1FF)]
        at += 2 + (head & 0x1FF)


_LLDP_KINDS: Final = {1: {1: "CC", 2: "IA", 3: "PC", 4: "MA", 5: "NA", 6: "IN", 7: "LA"},
                      2: {1: "IA", 2: "PC", 3: "MA", 4: "NA", 5: "IN", 6: "CI", 7: "LA"}}  # fmt: skip


def _lldp_identifier(kind: int, value: bytes) -> str:
    name = _LLDP_KINDS[kind].get(value[0], "RES")
    if name == "MA":
        return f"{name}/{mac(value[1:])}"
    if name == "NA" and value[1:2] == b"\x01" and len(value) == 6:
        return f"{name}/{address(value[2:])}"
    return f"{name}/{printable(value[1:])}"


def eapol(view: View) -> str | None:
    """EAPOL (IEEE 802.1X), and which of the four messages of a WPA handshake it is (IEEE 802.11 section 12.7.6)."""
    data = view.payload
    if len(data) < 4:
        return None
    kind = data[1]
    if kind == 0:
        return _eap(data[4:])
    if kind != 3 or len(data) < 99:
        return _EAPOL[kind] if kind < len(_EAPOL) else None
    if data[4] not in (2, 254):  # another kind of key
        return "Key"
    information, has_nonce = number(data, 5), any(data[17:49])
    if not information & 0x08:
        return f"Key (Group Message {1 if information & 0x80 else 2} of 2)"
    if information & 0x80:
        return f"Key (Message {3 if information & 0x0100 else 1} of 4)"
    return f"Key (Message {2 if has_nonce and not information & 0x0200 else 4} of 4)"


def _eap(data: bytes) -> str | None:
    """EAP code, and type of a request or response (RFC 3748)."""
    if not data or data[0] not in _EAP_CODES:
        return "EAP"
    name = _EAP_CODES[data[0]]
    return f"{name}, {_EAP_TYPES.get(data[4], f'Unknown type ({data[4]})')}" if data[0] < 3 and len(data) > 4 else name


def pppoed(view: View) -> str | None:
    """A message of PPPoE discovery (RFC 2516)."""
    name = _PPPOE.get(number(view.payload, 1, 1))
    return f"Active Discovery {name}" if name else None


def ethernet(view: View) -> str | None:
    """A frame whose content has no dissector."""
    header = view.innermost("eth", "vlan", "link")
    return "Ethernet II" if header is not None and header.kind == "eth" else None
