"""TCP with its options and problems, UDP, SCTP."""

from collections.abc import Iterator
from typing import Final

from aishark_panel.dissect.headers import number
from aishark_panel.dissect.infos.view import MAX_PARTS, TcpNumbers, View
from aishark_panel.wire.layers import TcpProblem

__all__ = ["PROBLEMS", "sctp", "tcp", "tcp_problems", "udp"]

PROBLEMS: Final = {
    TcpProblem.WINDOW_UPDATE: "TCP Window Update",
    TcpProblem.ZERO_WINDOW_PROBE_ACK: "TCP ZeroWindowProbeAck",
    TcpProblem.ZERO_WINDOW_PROBE: "TCP ZeroWindowProbe",
    TcpProblem.KEEP_ALIVE_ACK: "TCP Keep-Alive ACK",
    TcpProblem.KEEP_ALIVE: "TCP Keep-Alive",
    TcpProblem.WINDOW_FULL: "TCP Window Full",
    TcpProblem.ZERO_WINDOW: "TCP ZeroWindow",
    TcpProblem.ACK_LOST_SEGMENT: "TCP ACKed unseen segment",
    TcpProblem.DUPLICATE_ACK: "TCP Dup ACK",
    TcpProblem.LOST_SEGMENT: "TCP Previous segment not captured",
    TcpProblem.OUT_OF_ORDER: "TCP Out-Of-Order",
    TcpProblem.SPURIOUS_RETRANSMISSION: "TCP Spurious Retransmission",
    TcpProblem.FAST_RETRANSMISSION: "TCP Fast Retransmission",
    TcpProblem.RETRANSMISSION: "TCP Retransmission",
    TcpProblem.REUSED_PORTS: "TCP Port numbers reused",
}
"""Wireshark's words for a problem, in the order in which it writes them."""

_SPECIAL: Final = TcpProblem.FAST_RETRANSMISSION | TcpProblem.SPURIOUS_RETRANSMISSION

_FLAGS: Final = ("FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR", "AE", "Reserved", "Reserved", "Reserved")
_URG, _ACK = 0x20, 0x10
_SEQUENCES: Final = 1 << 32
_SYN: Final = 0x02

_CHUNKS: Final = {
    0: "DATA",
    1: "INIT",
    2: "INIT_ACK",
    3: "SACK",
    4: "HEARTBEAT",
    5: "HEARTBEAT_ACK",
    6: "ABORT",
    7: "SHUTDOWN",
    8: "SHUTDOWN_ACK",
    9: "ERROR",
    10: "COOKIE_ECHO",
    11: "COOKIE_ACK",
    12: "ECNE",
    13: "CWR",
    14: "SHUTDOWN_COMPLETE",
    15: "AUTH",
    64: "I_DATA",
    128: "ASCONF_ACK",
    130: "RE_CONFIG",
    132: "PAD",
    192: "FORWARD_TSN",
    193: "ASCONF",
    194: "I_FORWARD_TSN",
}


def tcp_problems(view: View) -> str:
    """What is wrong with the segment, in brackets, ready to stand in front of any text; '' for nothing."""
    problems = TcpProblem(view.column("tcp_problem"))
    if problems & _SPECIAL:
        problems &= ~TcpProblem.RETRANSMISSION
    return "".join(f"[{words}] " for problem, words in PROBLEMS.items() if problem & problems)


def tcp(view: View) -> str | None:
    """Ports, flags, numbers, length and options of a segment. Numbers are raw unless the view knows better."""
    header = view.innermost("tcp")
    if header is None:
        return None
    frame, start = view.frame, header.start
    bits = number(frame, start + 12) & 0xFFF
    names = ", ".join(dict.fromkeys(name for bit, name in enumerate(_FLAGS) if bits >> bit & 1)) or "<None>"
    base = view.numbers or TcpNumbers(0, 0)
    sequence = (number(frame, start + 4, 4) - base.sequence) % _SEQUENCES
    words = [f"{number(frame, start)} → {number(frame, start + 2)} [{names}] Seq={sequence}"]
    if bits & _ACK:
        words.append(f"Ack={(number(frame, start + 8, 4) - base.acknowledgement) % _SEQUENCES}")
    window = number(frame, start + 14) << (0 if bits & _SYN else base.window_shift)
    words.append(f"Win={window}")
    if bits & _URG:
        words.append(f"Urg={number(frame, start + 18)}")
    words.append(f"Len={max(header.wire_end - header.payload, 0)}")
    return " ".join([*words, *_options(frame[start + 20 : header.payload], base.acknowledgement)])


def _options(options: bytes, acknowledged_base: int) -> Iterator[str]:
    """TCP options (RFC 9293 section 3.2, RFC 7323, RFC 2018) in their order; it ends at the first that is broken."""
    at = 0
    while at < len(options) and options[at]:
        kind, size = options[at], number(options, at + 1, 1)
        if kind == 1:
            at += 1
            continue
        if size < 2 or at + size > len(options):
            return
        if kind == 2 and size == 4:
            yield f"MSS={number(options, at + 2)}"
        elif kind == 3 and size == 3:
            yield f"WS={1 << min(options[at + 2], 14)}"
        elif kind == 4:
            yield "SACK_PERM"
        elif kind == 5:
            for block in range(at + 2, at + size - 7, 8):
                left, right = (number(options, block + k, 4) for k in (0, 4))
                yield f"SLE={(left - acknowledged_base) % _SEQUENCES} SRE={(right - acknowledged_base) % _SEQUENCES}"
        elif kind == 8 and size == 10:
            yield f"TSval={number(options, at + 2, 4)} TSecr={number(options, at + 6, 4)}"
        at += size


def udp(view: View) -> str | None:
    """Ports and length of a datagram."""
    header = view.innermost("udp", "udplite")
    if header is None:
        return None
    ports = f"{number(view.frame, header.start)} → {number(view.frame, header.start + 2)}"
    said = number(view.frame, header.start + 4)
    if header.kind == "udp" and 0 < said < 8:
        return f"{ports} [BAD UDP LENGTH {said} < 8]"
    if header.kind == "udp" and said > header.wire_end - header.start:
        return f"{ports} [BAD UDP LENGTH {said} > IP PAYLOAD LENGTH] Len={said - 8}"
    return f"{ports} Len={max(header.wire_end - header.payload, 0)}"


def sctp(view: View) -> str | None:
    """The chunks of a packet (RFC 9260 section 3.2)."""
    header = view.innermost("sctp")
    if header is None:
        return None
    data, at = view.frame[header.payload : header.end], 0
    words: list[str] = []
    while at + 4 <= len(data) and len(words) < MAX_PARTS:
        kind, size = data[at], number(data, at + 2)
        name = _CHUNKS.get(kind & 0xFF, "UNKNOWN")
        if kind == 0:
            name += f" (TSN={number(data, at + 4, 4)})"
        elif kind == 3:
            name += f" (Ack={number(data, at + 4, 4)}, Arwnd={number(data, at + 8, 4)})"
        words.append(name)
        if size < 4:
            break
        at += size + -size % 4
    return " ".join(words) or None
