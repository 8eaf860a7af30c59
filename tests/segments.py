"""TCP segments from numbers, and random connections that do all that makes TCP analysis speak."""

import random
import struct
from dataclasses import dataclass

from aishark_panel.wire.frames import Frames

__all__ = ["ACK", "FIN", "PSH", "RST", "SYN", "Segment", "frames_of", "interleaved", "random_connection"]

FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
START_NS = 1_700_000_000_000_000_000
MS = 1_000_000


@dataclass(slots=True)
class Segment:
    """One segment of a connection between 10.0.0.1 (from_a) and 10.0.0.2."""

    from_a: bool
    seq: int
    ack: int
    flags: int = ACK
    payload: bytes = b""
    window: int = 1_000
    scale: int | None = None
    """window scale option"""
    at_ns: int = 0
    """time since the start"""

    def frame(self, port: int = 40_000) -> bytes:
        """An Ethernet frame; `port` is side a's, which makes the connection."""
        options = b"" if self.scale is None else bytes([1, 3, 3, self.scale])
        ports = (port, 443) if self.from_a else (443, port)
        offset = (20 + len(options)) // 4 << 12
        header = struct.pack(
            ">HHIIHHHH", *ports, self.seq % 2**32, self.ack % 2**32, offset | self.flags, self.window, 0, 0
        )
        body = header + options + self.payload
        a, b = bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2])
        ends = a + b if self.from_a else b + a
        ip = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(body), 1, 0, 64, 6, 0) + ends
        return bytes.fromhex("020000000002020000000001") + b"\x08\x00" + ip + body


def frames_of(segments: list[Segment], port: int = 40_000, iface: int = 0) -> Frames:
    """The segments as frames, in this order."""
    return Frames.from_list([s.frame(port) for s in segments], [START_NS + s.at_ns for s in segments], iface=iface)


def interleaved(connections: list[list[Segment]], rng: random.Random) -> tuple[Frames, list[int]]:
    """Several connections in one capture, and for each frame which it belongs to."""
    turns = [k for k, segments in enumerate(connections) for _ in segments]
    rng.shuffle(turns)
    rest = [iter(segments) for segments in connections]
    content = [(k, next(rest[k])) for k in turns]
    frames = [segment.frame(30_000 + k) for k, segment in content]
    return Frames.from_list(frames, [START_NS + segment.at_ns for _, segment in content]), turns


class _Side:
    def __init__(self, seq: int) -> None:
        self.seq = seq
        self.ack = 0
        self.window = 500
        self.scale: int | None = None
        self.sent: list[tuple[int, bytes, int]] = []


def random_connection(rng: random.Random, length: int) -> list[Segment]:
    """`length` segments: data, lost, doubled and overtaken segments, windows, probes, keep-alives, resets, new SYNs."""
    sides = [_Side(rng.choice([rng.getrandbits(32), 2**32 - rng.randrange(1, 3_000)])) for _ in range(2)]
    sides[0].ack, sides[1].ack = sides[1].seq, sides[0].seq
    segments: list[Segment] = []
    now = 0
    if rng.random() < 0.7:
        _handshake(rng, sides, segments)
        now = segments[-1].at_ns
    who = 0
    while len(segments) < length:
        now += rng.choice([10_000, 500_000, 2 * MS, 30 * MS, 300 * MS, 1_500 * MS])
        who = who if rng.random() < 0.6 else 1 - who
        for segment in _act(rng, who, sides):
            segment.at_ns = now
            now += 1_000
            segments.append(segment)
    return segments[:length]


def _handshake(rng: random.Random, sides: list[_Side], segments: list[Segment]) -> None:
    a, b = sides
    scales = [rng.choice([None, 0, 2, 7, 15]) for _ in range(2)]
    rtt = rng.choice([1, 20, 200]) * MS
    if rng.random() < 0.9:
        segments.append(Segment(True, a.seq, 0, SYN, window=64_000, scale=scales[0]))
    if rng.random() < 0.9:
        segments.append(Segment(False, b.seq, a.seq + 1, SYN | ACK, window=64_000, scale=scales[1], at_ns=rtt))
    a.seq, b.seq = a.seq + 1, b.seq + 1
    a.ack, b.ack = b.seq, a.seq
    segments.append(Segment(True, a.seq, a.ack, window=a.window, at_ns=rtt + 1_000))
    if scales[0] is not None and scales[1] is not None:
        a.scale, b.scale = scales


def _act(rng: random.Random, who: int, sides: list[_Side]) -> list[Segment]:
    """One thing a side does."""
    me, other = sides[who], sides[1 - who]
    from_a = who == 0

    def segment(seq: int, payload: bytes = b"", flags: int = ACK, window: int | None = None) -> Segment:
        return Segment(from_a, seq, me.ack, flags, payload, me.window if window is None else window)

    def data(size: int, flags: int = ACK) -> Segment:
        made = segment(me.seq, rng.randbytes(size), flags)
        me.sent = [*me.sent[-5:], (me.seq, made.payload, flags)]
        me.seq += size
        return made

    match rng.randrange(20):
        case 0 | 1 | 2 | 3 | 4:
            return [data(rng.choice([1, 2, 100, 500])) for _ in range(rng.randrange(1, 4))]
        case 5 | 6:
            me.ack = other.seq
            return [segment(me.seq)]
        case 7 if me.sent:  # sent again
            seq, payload, flags = rng.choice(me.sent)
            return [segment(seq, payload, flags)]
        case 8:  # lost before the capture
            data(100)
            return [data(100)]
        case 9:  # overtaken
            first, second = data(100), data(rng.choice([1, 100]))
            return [second, first]
        case 10 | 11:
            return [segment(me.seq)] * rng.randrange(1, 5)  # duplicate acknowledgements
        case 12:
            me.window = rng.choice([0, 0, 100, 500, 64_000])
            return [segment(me.seq)]
        case 13:
            return [segment(me.seq - 1, rng.choice([b"", b"\0"]))]  # keep-alive
        case 14:
            return [segment(me.seq, b"x")]  # probe
        case 15:  # fills the window that the other side offered
            scale = other.scale or 0
            room = other.ack + (other.window << min(scale, 14)) - me.seq
            return [data(room)] if 0 < room < 2_000 else []
        case 16 if other.sent:  # acknowledges more, or less, than was sent
            me.ack = rng.choice([other.seq + 100, *(sent[0] for sent in other.sent)])
            return [segment(me.seq)]
        case 17 if rng.random() < 0.3:
            me.seq += 1
            return [segment(me.seq - 1, flags=FIN | ACK)]
        case 18 if rng.random() < 0.3:
            return [segment(rng.choice([me.seq, me.ack]), flags=rng.choice([RST, RST | ACK]))]
        case 19 if rng.random() < 0.3:  # a new connection between the same ports, or the old SYN again
            me.seq = rng.getrandbits(32)
            me.scale = None
            return [Segment(from_a, me.seq, 0, SYN, window=1_000), Segment(from_a, me.seq, 0, SYN, window=1_000)][
                : rng.randrange(1, 3)
            ]
        case _:
            return []
