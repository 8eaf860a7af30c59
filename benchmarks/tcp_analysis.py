"""What conversations, TCP analysis and joined hellos cost a packet, on one core, by the number of conversations.

    python benchmarks/tcp_analysis.py [--packets 1000000] [--rounds 5] [--seed 1]

Connections are made here from a seed: handshake, data, acknowledgements, one segment in a hundred sent again. Their
segments are mixed at random, captured with 128 bytes each, and taken in batches of 8,192, as the hub does. Half of the
segments carry data. Prints nanoseconds of CPU a packet.
"""

import random
import struct
import time

from dissect import BATCH_ROWS, ETHERNET, FIRST_INTERFACE, mixed
from dissect import trace as stateless_trace
from results import Result, Table, arguments, finish, progress

from aishark_panel.dissect import dissect, warm_up
from aishark_panel.dissect.conversations import Conversations
from aishark_panel.dissect.hellos import Hellos
from aishark_panel.wire.frames import Frames
from aishark_panel.wire.packets import Packets

SNAPLEN = 128
SYN, ACK = 2, 16
STAGES = ("dissect", "hellos", "conversations")


class Connection:
    """Side a asks and acknowledges, side b sends data."""

    def __init__(self, rng: random.Random, number: int) -> None:
        self.ends = struct.pack(">II", 0x0A000000 | number, 0x0B000000 | rng.randrange(1 << 16))
        self.port = 32_768 + number % 28_000
        self.seq = [rng.getrandbits(32), rng.getrandbits(32)]
        self.turn = 0
        self.last = (0, 0, b"")

    def next(self, rng: random.Random) -> tuple[bytes, int]:
        """A frame, and its length on the wire."""
        turn, self.turn = self.turn, self.turn + 1
        if turn < 2:
            self.seq[turn] += 1
            return self._frame(turn, self.seq[turn] - 1, SYN | ACK * turn, 0)
        if turn % 2 == 0:
            return self._frame(0, self.seq[0], ACK, 0)
        if rng.random() < 0.01:
            return self._frame(1, self.seq[1] - 1_000, ACK, 1_000)
        size = rng.randrange(1_000, 1_400)
        self.seq[1] += size
        return self._frame(1, self.seq[1] - size, ACK, size)

    def _frame(self, side: int, seq: int, flags: int, size: int) -> tuple[bytes, int]:
        ends = self.ends if side == 0 else self.ends[4:] + self.ends[:4]
        ports = (self.port, 443) if side == 0 else (443, self.port)
        ip = struct.pack(">BBHHHBBH", 0x45, 0, 52 + size, 0, 0x4000, 64, 6, 0) + ends
        numbers = (seq & 0xFFFFFFFF, self.seq[1 - side] & 0xFFFFFFFF)
        tcp = struct.pack(">HHIIHHHH", *ports, *numbers, 0x8000 | flags, 502, 0, 0) + b"\x01\x01\x08\x0a" + bytes(8)
        frame = bytes(12) + b"\x08\x00" + ip + tcp + b"\x17\x03\x03\x05\x00" + bytes(size)
        wire = 66 + size
        return frame[: min(SNAPLEN, wire)], wire


def trace(concurrent: int, packets: int, rng: random.Random) -> Frames:
    """Segments of so many connections at a time, each of which lives for 40 of them."""
    made = 0
    live: list[Connection] = []
    frames, lengths = [], []
    for _ in range(packets):
        place = rng.randrange(concurrent)
        if place >= len(live) or live[place].turn >= 40:
            place = min(place, len(live))
            live[place : place + 1] = [Connection(rng, made)]
            made += 1
        frame, length = live[place].next(rng)
        frames.append(frame)
        lengths.append(length)
    return Frames.from_list(frames, [1_700_000_000_000_000_000 + 1_000 * i for i in range(packets)], lengths)


def one_round(frames: Frames, block: Packets) -> tuple[dict[str, float], int]:
    """CPU seconds of each stage, and the conversations that were seen."""
    hellos, conversations = Hellos(), Conversations()
    spent = dict.fromkeys(STAGES, 0.0)
    done = 0
    while done < len(frames):
        block.clear()
        batch = frames.slice(done, min(done + BATCH_ROWS, len(frames)))
        began = time.thread_time()
        taken = dissect(batch, 0, ETHERNET, FIRST_INTERFACE, block)
        dissected = time.thread_time()
        hellos.join(batch, 0, block, 0, taken)
        joined = time.thread_time()
        conversations.add(block, 0, taken)
        spent["conversations"] += time.thread_time() - joined
        spent["hellos"] += joined - dissected
        spent["dissect"] += dissected - began
        done += taken
    return spent, len(conversations)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--packets", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    warm_up()
    block = Packets(BATCH_ROWS)
    table = Table("CPU, ns a packet", "trace", ["conversations", *STAGES])
    rng = random.Random(options.seed)
    traces = {"mixed, no handshakes": lambda: stateless_trace(mixed(rng), options.packets, rng)}
    for concurrent in (1, 1_000, 100_000):
        traces[f"{concurrent:,} at a time"] = lambda n=concurrent: trace(n, options.packets, rng)
    for name, make in traces.items():
        progress(name)
        frames = make()
        rounds = [one_round(frames, block) for _ in range(options.rounds)]
        spent_ns = [[1e9 * spent[stage] / len(frames) for spent, _ in rounds] for stage in STAGES]
        table.add(name, rounds[0][1], *spent_ns)
    finish(Result("tcp_analysis", [table]), options.json)


if __name__ == "__main__":
    main()
