"""What the segments of a TCP connection tell about it: retransmissions, losses, duplicate acknowledgements, windows.

The rules are those of Wireshark's TCP analysis (wireshark.org/docs/wsug_html_chunked/ChAdvTCPAnalysis.html), so that
`tcp_problem` and `tcp.analysis.*` mean the same. `follow` judges one segment by what is remembered of both directions,
one FLOW_TYPE record each, and remembers the segment. Nothing else is kept: no segment lists, so no bound on them.

As in Wireshark a sequence or acknowledgement number of 0 stands for "none seen yet".
"""

from typing import Any, Final

import numpy as np

from aishark_panel.jit import kernel_part
from aishark_panel.wire.layers import Layer, TcpProblem
from aishark_panel.wire.packets import Columns

__all__ = ["FLOW_TYPE", "Flow", "begin", "follow", "takes"]

FLOW_TYPE: Final = np.dtype(
    [
        ("next_seq_ns", "i8"),  # when next_seq was reached
        ("last_ns", "i8"),  # when the last segment was seen
        ("timed_ns", "i8"),  # when the segment was sent whose acknowledgement is awaited for rtt_ns; 0: none is
        ("rtt_ns", "i8"),  # from data to its acknowledgement, smoothed as in RFC 6298; 0: not known
        ("next_seq", "u4"),  # one beyond the highest number sent
        ("last_ack", "u4"),
        ("sent_to", "u4"),  # one beyond the highest number up to which nothing is missing: what may be acknowledged
        ("first_seq", "u4"),  # initial sequence number, or the best guess
        ("timed_end", "u4"),
        ("window", "u4"),  # as sent last, not scaled
        ("duplicate_acks", "i2"),  # 0 to 3; -1: the other side acknowledged what was not seen
        ("last_problem", "u2"),
        ("iface", "u2"),  # interface this direction is followed on
        ("scale", "i1"),  # window scale, or one of the two below
        ("state", "u1"),  # bits below
    ]
)
"""One direction of a connection, one cache line. Times are packet time in ns."""

Flow = Any
"""A record of FLOW_TYPE."""

_NO_WINDOW: Final = 0xFFFFFFFF
_UNKNOWN_SCALE, _NO_SCALE = -1, -2
_MAX_SCALE: Final = 14
"""RFC 7323 section 2.3"""
_SEEN, _FIRST_SEQ, _NO_ACK_YET, _SHAKING = 1, 2, 4, 8
"""state: a segment was seen; first_seq is set; sent a SYN but no acknowledgement after it; a handshake is timed"""

_SWITCH_NS: Final = 1_000_000_000
_FAST_NS: Final = 20_000_000
_REORDERED_NS: Final = 3_000_000
"""Without a handshake, a segment that comes so soon after a later one was reordered and not sent again."""

_FIN, _SYN, _RST, _ACK = 1, 2, 4, 16
_SYN_FIN: Final = _SYN | _FIN
_CONTROL: Final = _SYN | _FIN | _RST

_MASK, _HALF = 0xFFFFFFFF, 0x80000000

_RETRANSMISSION: Final = int(TcpProblem.RETRANSMISSION)
_FAST: Final = int(TcpProblem.RETRANSMISSION | TcpProblem.FAST_RETRANSMISSION)
_SPURIOUS: Final = int(TcpProblem.RETRANSMISSION | TcpProblem.SPURIOUS_RETRANSMISSION)
_OUT_OF_ORDER: Final = int(TcpProblem.OUT_OF_ORDER)
_LOST: Final = int(TcpProblem.LOST_SEGMENT)
_ACK_LOST: Final = int(TcpProblem.ACK_LOST_SEGMENT)
_DUPLICATE_ACK: Final = int(TcpProblem.DUPLICATE_ACK)
_ZERO_WINDOW: Final = int(TcpProblem.ZERO_WINDOW)
_PROBE: Final = int(TcpProblem.ZERO_WINDOW_PROBE)
_PROBE_ACK: Final = int(TcpProblem.ZERO_WINDOW_PROBE_ACK)
_WINDOW_FULL: Final = int(TcpProblem.WINDOW_FULL)
_WINDOW_UPDATE: Final = int(TcpProblem.WINDOW_UPDATE)
_KEEP_ALIVE: Final = int(TcpProblem.KEEP_ALIVE)
_KEEP_ALIVE_ACK: Final = int(TcpProblem.KEEP_ALIVE_ACK)
_REUSED_PORTS: Final = int(TcpProblem.REUSED_PORTS)
_WSCALE_BIT: Final = int(Layer.TCP_WSCALE)

_NOT_TIMED: Final = _RETRANSMISSION | _OUT_OF_ORDER | _PROBE | _KEEP_ALIVE


@kernel_part
def begin(flow: Flow) -> None:
    """Nothing is known of this direction."""
    flow.next_seq_ns = flow.last_ns = flow.timed_ns = flow.rtt_ns = 0
    flow.next_seq = flow.last_ack = flow.sent_to = flow.first_seq = flow.timed_end = 0
    flow.window = _NO_WINDOW
    flow.duplicate_acks = flow.last_problem = flow.iface = 0
    flow.scale = _UNKNOWN_SCALE
    flow.state = 0


@kernel_part
def takes(flow: Flow, iface: int, ts: int) -> bool:
    """Is this direction followed on that interface?

    A packet that passes a router is captured on two interfaces, and its copy is no retransmission. So each direction
    is followed where it was seen first; on another only after it was silent there for a second.
    """
    if flow.iface != iface:
        if flow.state & _SEEN and ts - flow.last_ns < _SWITCH_NS:
            return False
        flow.iface = iface
    return True


@kernel_part
def _before(a: int, b: int) -> bool:
    """Does sequence number a come before b, modulo 2**32 (RFC 9293 section 3.4)?"""
    return (a - b) & _MASK >= _HALF


@kernel_part
def follow(columns: Columns, i: int, fwd: Flow, rev: Flow, handshake: Any) -> int:
    """Problems (TcpProblem bits) of the segment in row i, sent in the direction `fwd`.

    `handshake` is two int64: the time of the last SYN, and the time from it to the first acknowledgement after it, as
    Wireshark defines the initial round-trip time. 0: not seen.
    """
    flags = np.int64(columns.tcp_flags[i])
    ts = columns.ts[i]
    problem = 0
    if flags & _SYN:
        problem = _open(columns, i, flags, fwd, rev, handshake)
    _note_first(columns, i, flags, fwd, rev)
    problem |= _judge(columns, i, flags, fwd, rev)
    if np.int64(columns.payload_len[i]) > 0 or flags & _SYN_FIN:
        problem |= _compare(columns, i, flags, problem, fwd, rev, handshake[1])
    _remember(columns, i, flags, problem, fwd, rev)
    if flags & _SYN:
        _scale(columns, i, flags, fwd, rev)
        if not flags & _ACK:
            handshake[0] = ts
            if handshake[1] == 0:
                fwd.state |= _SHAKING
                rev.state |= _SHAKING
        fwd.state |= _NO_ACK_YET
    elif flags & _ACK:
        if fwd.state & _SHAKING:
            fwd.state &= ~_SHAKING
            rev.state &= ~_SHAKING
            handshake[1] = max(ts - handshake[0], 0)
        fwd.state &= ~_NO_ACK_YET
    return problem


@kernel_part
def _open(columns: Columns, i: int, flags: int, fwd: Flow, rev: Flow, handshake: Any) -> int:
    """A SYN: of a new connection between the same ports, or the same SYN again?"""
    seq = np.int64(columns.tcp_seq[i])
    if not fwd.state & _FIRST_SEQ:
        return 0
    if flags & _ACK:
        if seq == fwd.first_seq:
            return 0
        fwd.first_seq = seq
        return _REUSED_PORTS
    if seq == fwd.first_seq:
        fwd.next_seq = fwd.sent_to  # a RST that answered for this side may have moved it
        return 0
    begin(fwd)
    begin(rev)
    fwd.iface = columns.iface[i]
    handshake[0] = handshake[1] = 0
    return _REUSED_PORTS


@kernel_part
def _note_first(columns: Columns, i: int, flags: int, fwd: Flow, rev: Flow) -> None:
    """Initial sequence numbers, from the first segment of a side or what the other acknowledges first."""
    if not fwd.state & _FIRST_SEQ:
        fwd.first_seq = (np.int64(columns.tcp_seq[i]) - (0 if flags & _SYN else 1)) & _MASK
        fwd.state |= _FIRST_SEQ
    if flags & _ACK and not rev.state & _FIRST_SEQ:
        rev.first_seq = (np.int64(columns.tcp_ack[i]) - 1) & _MASK
        rev.state |= _FIRST_SEQ


@kernel_part
def _judge(columns: Columns, i: int, flags: int, fwd: Flow, rev: Flow) -> int:
    """Problems of windows, probes and acknowledgements, and gaps."""
    seq, ack = np.int64(columns.tcp_seq[i]), np.int64(columns.tcp_ack[i])
    length, window = np.int64(columns.payload_len[i]), np.int64(columns.tcp_window[i])
    next_seq, last_ack = np.int64(fwd.next_seq), np.int64(fwd.last_ack)
    problem = 0
    if length == 1 and seq == next_seq and rev.window == 0:
        problem = _PROBE
    else:
        if next_seq and _before(next_seq, seq) and not flags & _RST:
            problem = _LOST
        if not flags & _CONTROL:
            if window == 0:
                problem |= _ZERO_WINDOW
            if length <= 1 and seq == (next_seq - 1) & _MASK:
                problem |= _KEEP_ALIVE
            if length:
                if rev.scale != _UNKNOWN_SCALE and (seq + length) & _MASK == _window_end(rev):
                    problem |= _WINDOW_FULL
            elif seq == next_seq and ack == last_ack:
                problem |= _repeated(window, fwd, rev)
    if ack != last_ack:
        fwd.duplicate_acks = 0
    if flags & _ACK and rev.sent_to and _before(np.int64(rev.sent_to), ack):
        if _before(np.int64(rev.sent_to), np.int64(rev.next_seq)):
            rev.sent_to = rev.next_seq
            problem |= _ACK_LOST
        else:  # told once, until the other side acknowledges something again
            if rev.duplicate_acks == 0:
                problem |= _ACK_LOST
            rev.duplicate_acks = -1
    return problem


@kernel_part
def _window_end(flow: Flow) -> int:
    """One beyond the last byte that this side is ready to take."""
    shift = 0 if flow.state & _NO_ACK_YET or flow.scale == _NO_SCALE else flow.scale  # a SYN's window is never scaled
    end: Any = (np.int64(flow.last_ack) + (np.int64(flow.window) << shift)) & _MASK
    return end  # type: ignore[no-any-return]


@kernel_part
def _repeated(window: int, fwd: Flow, rev: Flow) -> int:
    """A segment without data that acknowledges the same as the one before."""
    if window != fwd.window:
        return _WINDOW_UPDATE if window else 0
    if window == 0:
        return _PROBE_ACK if rev.last_problem & _PROBE else 0
    if rev.last_problem & _KEEP_ALIVE:
        return _KEEP_ALIVE_ACK
    fwd.duplicate_acks = min(max(fwd.duplicate_acks, 0) + 1, 3)
    return _DUPLICATE_ACK


@kernel_part
def _compare(columns: Columns, i: int, flags: int, problem: int, fwd: Flow, rev: Flow, rtt_ns: int) -> int:
    """Was this segment, which takes sequence numbers, sent before, or overtaken?"""
    if problem & _KEEP_ALIVE:
        return 0
    seq, length, ts = np.int64(columns.tcp_seq[i]), np.int64(columns.payload_len[i]), columns.ts[i]
    next_seq = np.int64(fwd.next_seq)
    if length and rev.last_ack:
        beyond = (seq + length - np.int64(rev.last_ack)) & _MASK
        if beyond == 0 or beyond >= _HALF:
            return _SPURIOUS
    # A segment that starts one byte early repeats a zero window probe and goes on from there.
    if next_seq == 0 or not _before(seq, next_seq) or (length > 1 and seq == (next_seq - 1) & _MASK):
        return 0
    if rev.duplicate_acks >= 2 and seq == rev.last_ack and 0 <= ts - rev.last_ns < _FAST_NS:
        return _FAST
    end = (seq + length + (1 if flags & _SYN_FIN else 0)) & _MASK
    if end != next_seq and 0 <= ts - fwd.next_seq_ns < (rtt_ns if rtt_ns else _REORDERED_NS):
        return _OUT_OF_ORDER
    return _RETRANSMISSION


@kernel_part
def _remember(columns: Columns, i: int, flags: int, problem: int, fwd: Flow, rev: Flow) -> None:
    seq, ack = np.int64(columns.tcp_seq[i]), np.int64(columns.tcp_ack[i])
    length, ts = np.int64(columns.payload_len[i]), columns.ts[i]
    end = (seq + length + (1 if flags & _SYN_FIN else 0)) & _MASK
    if problem & _RETRANSMISSION:
        fwd.timed_ns = 0  # whose acknowledgement this will be, nobody knows (RFC 6298 section 3)
    if not problem & _PROBE:
        if fwd.next_seq == 0 or _before(np.int64(fwd.next_seq), end):
            fwd.next_seq = end
            fwd.next_seq_ns = ts
            if length and fwd.timed_ns == 0 and not problem & _NOT_TIMED:
                fwd.timed_end = end
                fwd.timed_ns = ts
        if fwd.sent_to == 0 or fwd.sent_to == seq:
            fwd.sent_to = fwd.next_seq
    if flags & _ACK and rev.timed_ns and not _before(ack, np.int64(rev.timed_end)):
        rtt_ns = max(ts - rev.timed_ns, 1)
        rev.rtt_ns = rtt_ns if rev.rtt_ns == 0 else rev.rtt_ns + (rtt_ns - rev.rtt_ns) // 8
        rev.timed_ns = 0
    fwd.window = np.int64(columns.tcp_window[i])
    fwd.last_ack = ack
    fwd.last_ns = ts
    fwd.last_problem = problem
    fwd.state |= _SEEN


@kernel_part
def _scale(columns: Columns, i: int, flags: int, fwd: Flow, rev: Flow) -> None:
    """Windows are scaled only if both sides said so (RFC 7323 section 2.2)."""
    if columns.layers[i] & _WSCALE_BIT:
        fwd.scale = min(np.int64(columns.tcp_wscale[i]), _MAX_SCALE)
        if flags & _ACK and rev.scale == _NO_SCALE:
            fwd.scale = _NO_SCALE
    elif fwd.scale == _UNKNOWN_SCALE:
        fwd.scale = rev.scale = _NO_SCALE


assert FLOW_TYPE.itemsize == 64
