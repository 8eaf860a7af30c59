"""Name services: DNS, mDNS, LLMNR, NetBIOS."""

from typing import Final

from aishark_panel.dissect.headers import number
from aishark_panel.dissect.infos.view import View, address, printable

__all__ = ["dns", "nbns", "record_type"]

_TYPES: Final = {
    1: "A", 2: "NS", 3: "MD", 4: "MF", 5: "CNAME", 6: "SOA", 7: "MB", 8: "MG", 9: "MR", 10: "NULL", 11: "WKS",
    12: "PTR", 13: "HINFO", 14: "MINFO", 15: "MX", 16: "TXT", 17: "RP", 18: "AFSDB", 24: "SIG", 25: "KEY", 28: "AAAA",
    29: "LOC", 33: "SRV", 35: "NAPTR", 36: "KX", 37: "CERT", 38: "A6", 39: "DNAME", 41: "OPT", 42: "APL", 43: "DS",
    44: "SSHFP", 45: "IPSECKEY", 46: "RRSIG", 47: "NSEC", 48: "DNSKEY", 49: "DHCID", 50: "NSEC3", 51: "NSEC3PARAM",
    52: "TLSA", 53: "SMIMEA", 55: "HIP", 59: "CDS", 60: "CDNSKEY", 61: "OPENPGPKEY", 62: "CSYNC", 63: "ZONEMD",
    64: "SVCB", 65: "HTTPS", 99: "SPF", 249: "TKEY", 250: "TSIG", 251: "IXFR", 252: "AXFR", 255: "ANY", 256: "URI",
    257: "CAA",
}  # fmt: skip
_OPERATIONS: Final = {0: "Standard query", 1: "Inverse query", 2: "Server status request",
                      4: "Zone change notification", 5: "Dynamic update",
                      6: "DNS Stateful operations (DSO)"}  # fmt: skip
_ERRORS: Final = ("No error", "Format error", "Server failure", "No such name", "Not implemented", "Refused",
                  "Name exists", "RRset exists", "RRset does not exist", "Not authoritative", "Name out of zone",
                  "DSO-Type not implemented")  # fmt: skip
_MAX_RECORDS: Final = 64
"""Most records put into words."""
_MAX_JUMPS: Final = 64
_MAX_NAME_BYTES: Final = 255
"""RFC 1035 section 2.3.4"""

_NAME_OF: Final = (2, 3, 4, 5, 7, 8, 9, 12, 39)
"""Types whose data is one name."""
_NETBIOS_OPERATIONS: Final = {0: "Name query", 5: "Registration", 6: "Release", 7: "WACK", 8: "Refresh",
                              9: "Refresh(altcode)", 15: "Multi-homed registration"}  # fmt: skip
_NETBIOS_TYPES: Final = {0x20: "NB", 0x21: "NBSTAT"}
_NETBIOS_ERRORS: Final = {1: "Request was invalidly formatted", 2: "Problem with NAMED",
                          3: "Requested name does not exist", 4: "Unsupported request error", 5: "Refused error",
                          6: "Active error", 7: "Name in conflict error"}  # fmt: skip


class _Message:
    """One message (RFC 1035 section 4), read from front to back."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 12
        self.flags = number(data, 2)
        self.is_response = bool(self.flags & 0x8000)

    def name(self, at: int) -> tuple[str, int]:
        """The name at a place, and where it ends there; ('', 0) where it runs out of the message."""
        labels: list[str] = []
        end, jumps, length = 0, 0, 0
        while at < len(self.data):
            if length > _MAX_NAME_BYTES:
                return "<Name too long>", end
            size = self.data[at]
            if size & 0xC0 == 0xC0:
                end = end or at + 2
                at, jumps = number(self.data, at) & 0x3FFF, jumps + 1
                if jumps > _MAX_JUMPS:
                    return "<Name contains a pointer that loops>", end
            elif size == 0:
                return ".".join(labels) or "<Root>", end or at + 1
            elif size & 0xC0:
                break
            else:
                labels.append(printable(self.data[at + 1 : at + 1 + size]))
                at += 1 + size
                length += 1 + size
        return "", 0


def dns(view: View) -> str | None:
    """DNS over UDP and TCP, mDNS (RFC 6762), LLMNR (RFC 4795): questions and all records in order."""
    data = view.payload
    if view.last is not None and view.last.kind == "tcp":
        data = data[2 : 2 + number(data, 0)]
    if len(data) < 12:
        return None
    message = _Message(data)
    operation = message.flags >> 11 & 15
    words = [_OPERATIONS.get(operation, f"Unknown operation ({operation})")]
    words += ["response"] if message.is_response else []
    words.append(f"0x{number(data, 0):04x}")
    error = message.flags & 15
    if message.is_response and error:
        words.append(_ERRORS[error] if error < len(_ERRORS) else f"Unknown error ({error})")
    is_mdns = view.protocol == "MDNS"
    for _ in range(min(number(data, 4), _MAX_RECORDS)):
        question = _question(message, is_mdns)
        if question is None:
            return " ".join(words)
        words.append(question)
    for _ in range(min(sum(number(data, at) for at in (6, 8, 10)), _MAX_RECORDS)):
        record = _record(message, is_mdns)
        if record is None:
            break
        words.append(record)
    return " ".join(words)


def record_type(kind: int) -> str:
    """Name of a DNS record type."""
    return _TYPES.get(kind, f"Unknown ({kind})")


def _question(message: _Message, is_mdns: bool) -> str | None:
    name, end = message.name(message.at)
    if not end or end + 4 > len(message.data):
        return None
    kind, group = number(message.data, end), number(message.data, end + 2)
    message.at = end + 4
    wanted = f', "{"QU" if group & 0x8000 else "QM"}" question' if is_mdns else ""
    return f"{record_type(kind)} {name}{wanted}"


def _record(message: _Message, is_mdns: bool) -> str | None:
    _, end = message.name(message.at)
    if not end or end + 10 > len(message.data):
        return None
    data = message.data
    kind, group, size = number(data, end), number(data, end + 2), number(data, end + 8)
    at = end + 10
    message.at = at + size
    flush = ", cache flush" if is_mdns and kind != 41 and group & 0x8000 else ""
    content = _content(message, kind, at, size)
    return f"{record_type(kind)}{flush}{content}"


def _content(message: _Message, kind: int, at: int, size: int) -> str:
    """What a record says, with a space in front; '' for types shown by name only."""
    data = message.data
    if at + size > len(data):
        return ""
    if kind == 1 and size == 4:
        return " " + address(data[at : at + 4])
    if kind == 28 and size == 16:
        return " " + address(data[at : at + 16])
    if kind in _NAME_OF or kind == 6:
        return " " + message.name(at)[0]
    if kind == 15:
        return f" {number(data, at)} {message.name(at + 2)[0]}"
    if kind == 33:
        return f" {number(data, at)} {number(data, at + 2)} {number(data, at + 4)} {message.name(at + 6)[0]}"
    return ""


def nbns(view: View) -> str | None:
    """NetBIOS name service (RFC 1002 section 4.2): the first question or answer."""
    data = view.payload
    if len(data) < 12:
        return None
    message = _Message(data)
    operation = message.flags >> 11 & 15
    words = [_NETBIOS_OPERATIONS.get(operation, f"Unknown operation ({operation})")]
    words += ["response"] if message.is_response else []
    if message.is_response and message.flags & 15:
        words[-1] += f", {_NETBIOS_ERRORS.get(message.flags & 15, 'Unknown error')}"
    name, end = message.name(12)
    if not end:
        return " ".join(words)
    kind = number(data, end)
    words.append(_NETBIOS_TYPES.get(kind, "Unknown"))
    if message.is_response:
        if kind == 0x20 and number(data, end + 8) >= 6:
            words.append(address(data[end + 12 : end + 16]))
    else:
        words.append(_netbios_name(name))
    return " ".join(words)


def _netbios_name(name: str) -> str:
    """A name in the half-byte letters of RFC 1001 section 14.1, its sixteenth character in angle brackets."""
    letters = [ord(c) - 65 for c in name.split(".")[0]]
    if len(letters) != 32 or not all(0 <= letter < 16 for letter in letters):
        return name
    raw = bytes(letters[k] << 4 | letters[k + 1] for k in range(0, 32, 2))
    shown = "".join(chr(byte) if 0x20 <= byte < 0x7F else f"<{byte:02x}>" for byte in raw[:15].rstrip(b" "))
    return f"{shown}<{raw[15]:02x}>"
