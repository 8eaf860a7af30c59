"""Services of a network and its hosts: DHCP, NTP, SSH, mail and file transfer, VPNs, routing."""

from collections.abc import Iterator
from itertools import islice
from typing import Final

from aishark_panel.dissect.headers import number
from aishark_panel.dissect.infos.view import MAX_PARTS, View, mac, printable

__all__ = ["bgp", "dhcp", "dhcpv6", "ftp", "isakmp", "lines", "mail", "ntp", "rip", "ssh", "stun", "telnet", "tftp"]

_DHCP: Final = ("", "Discover", "Offer", "Request", "Decline", "ACK", "NAK", "Release", "Inform", "Force Renew",
                "Lease query", "Lease Unassigned", "Lease Unknown", "Lease Active")  # fmt: skip
_DHCP_COOKIE: Final = b"\x63\x82\x53\x63"
_DHCPV6: Final = {1: "Solicit", 2: "Advertise", 3: "Request", 4: "Confirm", 5: "Renew", 6: "Rebind", 7: "Reply",
                  8: "Release", 9: "Decline", 10: "Reconfigure", 11: "Information-request", 12: "Relay-forw",
                  13: "Relay-reply"}  # fmt: skip
_NTP_MODES: Final = ("reserved", "symmetric active", "symmetric passive", "client", "server", "broadcast", "control",
                     "private")  # fmt: skip
_SSH: Final = {1: "Disconnect", 2: "Ignore", 3: "Unimplemented", 4: "Debug", 5: "Service Request",
               6: "Service Accept", 20: "Key Exchange Init", 21: "New Keys", 33: "Diffie-Hellman Group Exchange Reply",
               34: "Diffie-Hellman Group Exchange Request"}  # fmt: skip
_ECDH: Final = "Elliptic Curve Diffie-Hellman Key Exchange"
_POINT_BYTES: Final = (32, 65, 97, 133)
"""Sizes of public keys on the curves in use; a Diffie-Hellman number is far longer."""
_BGP: Final = {1: "OPEN", 2: "UPDATE", 3: "NOTIFICATION", 4: "KEEPALIVE", 5: "ROUTE-REFRESH"}
_EXCHANGES: Final = {2: "Identity Protection (Main Mode)", 4: "Aggressive", 5: "Informational", 32: "Quick Mode",
                     34: "IKE_SA_INIT", 35: "IKE_AUTH", 36: "CREATE_CHILD_SA", 37: "INFORMATIONAL"}  # fmt: skip
_STUN: Final = {0: "Request", 1: "Indication", 2: "Success Response", 3: "Error Response"}
_STUN_METHODS: Final = {1: "Binding", 3: "Allocate", 4: "Refresh", 6: "Send", 7: "Data", 8: "CreatePermission",
                        9: "Channel-Bind"}  # fmt: skip
_TFTP: Final = {1: "Read Request", 2: "Write Request", 3: "Data Packet", 4: "Acknowledgement", 5: "Error Code",
                6: "Option Acknowledgement"}  # fmt: skip
_MAX_LINES: Final = 20


def dhcp(view: View) -> str | None:
    """DHCP message type and transaction (RFC 2131), or BOOTP's (RFC 951)."""
    data = view.payload
    if len(data) < 34:
        return None
    is_cut = view.last is not None and view.last.end < view.last.wire_end
    kind = b"" if is_cut else dict(_dhcp_options(data)).get(53, b"")
    if kind and kind[0] < len(_DHCP) and kind[0]:
        return f"DHCP {_DHCP[kind[0]]:<8} - Transaction ID 0x{number(data, 4, 4):x}"
    if data[0] == 2:
        return "Boot Reply"
    if data[0] != 1:
        return f"Unknown BOOTP message type ({data[0]})"
    hardware = mac(data[28 : 28 + min(data[2], 16)])
    return f"Boot Request from {hardware} ({hardware})"


def _dhcp_options(data: bytes) -> Iterator[tuple[int, bytes]]:
    if data[236:240] != _DHCP_COOKIE:
        return
    at = 240
    while at + 2 <= len(data) and data[at] != 255:
        if data[at]:
            yield data[at], data[at + 2 : at + 2 + data[at + 1]]
            at += 2 + data[at + 1]
        else:
            at += 1


def dhcpv6(view: View) -> str | None:
    """DHCPv6 message type, transaction, client identifier (RFC 8415)."""
    data = view.payload
    if len(data) < 4 or data[0] not in _DHCPV6:
        return None
    name = _DHCPV6[data[0]]
    if data[0] in (12, 13):
        return name
    at, client = 4, ""
    while at + 4 <= len(data):
        size = number(data, at + 2)
        if number(data, at) == 1:
            client = f" CID: {data[at + 4 : at + 4 + size].hex()}"
        at += 4 + size
    return f"{name} XID: 0x{number(data, 1, 3):x}{client}"


def ntp(view: View) -> str | None:
    """NTP version and mode (RFC 5905)."""
    data = view.payload
    return f"NTP Version {data[0] >> 3 & 7}, {_NTP_MODES[data[0] & 7]}" if data else None


def _side(view: View, client: str, server: str) -> str:
    """Which side sends, by the lower port being the server's."""
    source, destination = view.ports
    return server if source < destination else client


def ssh(view: View) -> str | None:
    """SSH version exchange, key exchange in the clear, length of what is encrypted (RFC 4253)."""
    data = view.payload
    side = _side(view, "Client", "Server")
    if not data:
        return None
    if data.startswith(b"SSH-"):
        return f"{side}: Protocol ({lines(view)[0]})"
    words = list(islice(_ssh_messages(data), MAX_PARTS))
    return f"{side}: {', '.join(words)}" if words else f"{side}: Encrypted packet (len={len(data)})"


def _ssh_messages(data: bytes) -> Iterator[str]:
    """Names of the messages that are in the clear; random bytes hardly ever have a length that fits."""
    at = 0
    while at + 6 <= len(data):
        length, padding, kind = number(data, at, 4), data[at + 4], data[at + 5]
        if not 4 <= padding < length <= 35_000 or (kind not in _SSH and kind not in (30, 31, 32)):
            return
        key_bytes = number(data, at + 6, 4)
        if kind in (30, 32):
            name = f"{_ECDH} Init" if key_bytes in _POINT_BYTES else "Diffie-Hellman Key Exchange Init"
            yield "Diffie-Hellman Group Exchange Init" if kind == 32 else name
        elif kind == 31:
            yield f"{_ECDH} Reply" if length > key_bytes + 64 else "Diffie-Hellman Group Exchange Group"
        else:
            yield _SSH[kind]
        at += 4 + length


def lines(view: View) -> list[str]:
    """The lines of a text protocol, without their ends."""
    return [
        printable(line.rstrip(b"\r")) for line in view.payload.removesuffix(b"\n").split(b"\n", _MAX_LINES)[:_MAX_LINES]
    ]


def mail(view: View) -> str | None:
    """Commands and replies of SMTP, POP3 and IMAP, with the side in front."""
    if not view.payload:
        return None
    side = _side(view, "C: ", "S: ")
    first, *others = lines(view)
    return side + " | ".join(
        [first, *(line[4:] if line[:4] == f"{first[:3]}-" or line[:4] == f"{first[:3]} " else line for line in others)]
    )


def ftp(view: View) -> str | None:
    """A command of FTP, or the reply to one."""
    return f"{_side(view, 'Request', 'Response')}: {lines(view)[0]}" if view.payload else None


def telnet(view: View) -> str | None:
    """Telnet, whose data is shown in the bytes only."""
    return "Telnet Data ..." if view.payload else None


def bgp(view: View) -> str | None:
    """The messages of a segment (RFC 4271 section 4.1)."""
    data, at, words = view.payload, 0, []
    while at + 19 <= len(data) and data[at : at + 16] == b"\xff" * 16:
        words.append(f"{_BGP.get(data[at + 18], f'Unknown ({data[at + 18]})')} Message")
        at += max(number(data, at + 16), 19)
    return ", ".join(words) or ("Continuation" if data else None)


def isakmp(view: View) -> str | None:
    """IKE's exchange (RFC 2408, RFC 7296); of version 2 also the message's number, and who speaks."""
    data = view.payload
    if data[:4] == b"\0\0\0\0" and 4500 in view.ports:  # a marker in front: not ESP (RFC 3948)
        data = data[4:]
    if len(data) < 28 or data[18] not in _EXCHANGES:
        return None
    name = _EXCHANGES[data[18]]
    if data[17] >> 4 < 2:
        return name
    who = "Initiator" if data[19] & 0x08 else "Responder"
    what = "Response" if data[19] & 0x20 else "Request"
    return f"{name} MID={number(data, 20, 4):02} {who} {what}"


def rip(view: View) -> str | None:
    """RIP (RFC 2453)."""
    return {1: "Request", 2: "Response"}.get(number(view.payload, 0, 1))


def stun(view: View) -> str | None:
    """STUN method and class (RFC 8489 section 5)."""
    kind = number(view.payload, 0)
    method = kind & 0x000F | kind >> 1 & 0x0070 | kind >> 2 & 0x0F80
    name = _STUN_METHODS.get(method)
    return f"{name} {_STUN[kind >> 7 & 2 | kind >> 4 & 1]}" if name else None


def tftp(view: View) -> str | None:
    """TFTP operation and file (RFC 1350)."""
    data = view.payload
    operation = number(data, 0)
    if operation not in _TFTP:
        return None
    if operation in (1, 2) and data.count(b"\0", 2) >= 2:
        file, mode = data[2:].split(b"\0")[:2]
        return f"{_TFTP[operation]}, File: {printable(file)}, Transfer type: {printable(mode)}"
    if operation in (3, 4):
        return f"{_TFTP[operation]}, Block: {number(data, 2)}"
    return _TFTP[operation]
