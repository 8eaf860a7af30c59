"""Made-up traffic at any rate: demos without privileges, and traces for benchmarks.

A *reel* is some seconds of interwoven episodes, rendered once. It is played round after round; a kernel gives each
round its own client ports, echo identifiers and TCP sequence numbers, with checksums kept right, so every round
consists of new conversations. The *rhythm* makes the rate swell, ebb and burst around the one asked for.
"""

import math
import threading
import time
from collections.abc import Callable, Iterator
from random import Random
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from aishark_panel.agent.episodes import ECHO, FIXED, TCP, UDP, make_episodes
from aishark_panel.agent.source import SourceInterface, SourceKind
from aishark_panel.errors import ConfigError
from aishark_panel.jit import kernel
from aishark_panel.wire.frames import MAX_FRAME_BYTES, Bytes, Frames

__all__ = ["MAX_RATE_PPS", "SyntheticSource", "endless_trace", "make_trace"]

MAX_RATE_PPS: Final = 20_000_000
_REEL_PACKETS: Final = 16_384
_REEL_S: Final = 8.0
"""length of the reel when it is played as it was written, at 2,048 packets/s"""
_TICK_NS: Final = 100_000_000
_RHYTHM_TICKS: Final = 1200
_EDGE_NS: Final = 10_000_000
"""Packets are handed out when a step of this length is over: many at once at high rates, prompt at low ones."""
_MAX_LAG_NS: Final = 1_000_000_000
_BATCH_ROWS: Final = 8192
_BATCH_BYTES: Final = 4 << 20
_ETHERNET: Final = 1
_FIRST_PORT, _PORTS = 32_768, 28_232
"""the range of client ports, within which each round moves them all by the same step"""
_PORT_STEP: Final = 7919
_SEQUENCE_STEP: Final = 0x9E3779B1
_TRACE_START_NS: Final = 1_700_000_000_000_000_000


class _Reel(NamedTuple):
    """n frames in the order of time, arrays of length n unless said otherwise."""

    when: npt.NDArray[np.float64]
    """place in the round, in packets, [0, span)"""
    kind: npt.NDArray[np.uint8]
    """FIXED, TCP, UDP or ECHO"""
    from_client: npt.NDArray[np.uint8]
    transport: npt.NDArray[np.uint8]
    """offset of the transport header"""
    late: npt.NDArray[np.int64]
    """rounds since the one in which the episode began"""
    every: npt.NDArray[np.int64]
    """the episode takes place in every n-th round"""
    offsets: npt.NDArray[np.int64]
    """(n + 1,)"""
    data: Bytes


class _Batch(NamedTuple):
    """Memory for one Frames."""

    ts: npt.NDArray[np.int64]
    orig_len: npt.NDArray[np.uint32]
    offsets: npt.NDArray[np.int32]
    data: Bytes

    @classmethod
    def of(cls, rows: int) -> "_Batch":
        return cls(
            np.empty(rows, np.int64),
            np.empty(rows, np.uint32),
            np.zeros(rows + 1, np.int32),
            np.empty(_BATCH_BYTES, np.uint8),
        )

    def frames(self, rows: int) -> Frames:
        return Frames(
            self.ts[:rows], self.orig_len[:rows], np.zeros(rows, np.uint16), self.offsets[: rows + 1], self.data
        )


class SyntheticSource:
    """Source of made-up Ethernet traffic, `rate_pps` packets/s on average, paced by `clock` (ns since 1970 UTC).

    The same seed plays the same packets. A reader that is too slow gets fewer packets, never old ones: time it could
    not keep up with is left out of the play. ConfigError where the rate is not above 0 and at most MAX_RATE_PPS.
    """

    kind: SourceKind = "synthetic"
    exhausted = False

    def __init__(
        self,
        rate_pps: float = 2000,
        seed: int = 1,
        clock: Callable[[], int] = time.time_ns,
        snaplen: int = MAX_FRAME_BYTES,
    ) -> None:
        self.interfaces = [
            SourceInterface(
                name="synthetic",
                link_type=_ETHERNET,
                snaplen=snaplen,
                description=f"made-up traffic, {rate_pps:,.0f} packets/s, seed {seed}",
            )
        ]
        self._player = _Player(rate_pps, seed, snaplen)
        self._batch = _Batch.of(_BATCH_ROWS)
        self._clock = clock
        self._woken = threading.Event()
        self._played = 0

    def read(self, timeout_s: float) -> Frames | None:
        """Wait up to `timeout_s` for packets. The memory is valid until the next read."""
        deadline = time.monotonic() + timeout_s
        while True:
            now_ns = self._clock()
            if self._player.time_ns == 0 or abs(now_ns - self._player.time_ns) > _MAX_LAG_NS:
                self._player.move_to(now_ns)
            rows = self._player.play(now_ns - now_ns % _EDGE_NS, self._batch)
            if rows:
                self._played += rows
                return self._batch.frames(rows)
            remaining_s = deadline - time.monotonic()
            if remaining_s <= 0:
                return None
            if self._woken.wait(min(remaining_s, _EDGE_NS / 1e9)):
                self._woken.clear()
                return None

    def counters(self) -> dict[str, int]:
        """`matched`: packets played so far."""
        return {"matched": self._played}

    def wake(self) -> None:
        """Make a blocked read return soon. Safe from any thread."""
        self._woken.set()

    def close(self) -> None:
        """Nothing is held."""


def make_trace(packets: int, seed: int = 1, rate_pps: float = 100_000, snaplen: int = MAX_FRAME_BYTES) -> list[Frames]:
    """`packets` frames of the same traffic at once, in batches of at most 8192; equal arguments give equal frames."""
    batches, trace = endless_trace(seed, rate_pps, snaplen), []
    while packets > 0:
        frames = next(batches)
        trace.append(frames if len(frames) <= packets else _copy(frames.slice(0, packets)))
        packets -= len(frames)
    return trace


def endless_trace(seed: int = 1, rate_pps: float = 100_000, snaplen: int = MAX_FRAME_BYTES) -> Iterator[Frames]:
    """The same without an end; each batch has memory of its own."""
    player = _Player(rate_pps, seed, snaplen)
    player.move_to(_TRACE_START_NS)
    batch = _Batch.of(_BATCH_ROWS)
    while True:
        yield _copy(batch.frames(player.play(2**63 - 1, batch)))


def _copy(frames: Frames) -> Frames:
    used = frames.data[: frames.offsets[-1]]
    return Frames(frames.ts.copy(), frames.orig_len.copy(), frames.iface, frames.offsets.copy(), used.copy())


class _Player:
    """Plays a reel for ever. Places in the play are counted in packets since its start; the rhythm turns them into
    times, one tick after the other."""

    def __init__(self, rate_pps: float, seed: int, snaplen: int) -> None:
        if not 0 < rate_pps <= MAX_RATE_PPS:
            raise ConfigError(f"the rate is {rate_pps} packets/s; it must be above 0 and at most {MAX_RATE_PPS:,}")
        random = Random(seed)
        self._reel, self._span = _make_reel(random)
        self._rhythm = _make_rhythm(random)
        self._rate_pps = rate_pps
        self._snaplen = snaplen
        self._cursor = np.zeros(2, np.int64)
        """round, index of the next frame"""
        self._tick = 0
        self._tick_ns = 0
        self._tick_place = 0.0
        self.time_ns = 0
        """everything before has been played; 0 before the first move_to"""

    def move_to(self, time_ns: int) -> None:
        """Go on at another time, as if none had passed."""
        self._tick_ns += time_ns - self.time_ns
        self.time_ns = time_ns

    def play(self, until_ns: int, batch: _Batch) -> int:
        """Fill `batch` with the frames up to `until_ns`; returns rows, fewer than there are where it is full."""
        rows = 0
        while self.time_ns < until_ns:
            packets = self._rate_pps * self._rhythm[self._tick] * _TICK_NS / 1e9
            stop_ns = min(self._tick_ns + _TICK_NS, until_ns)
            ns_per_packet = _TICK_NS / packets
            stop_place = self._tick_place + (stop_ns - self._tick_ns) / ns_per_packet
            rows, full = _play(
                self._reel,
                self._span,
                self._cursor,
                (self._tick_place, stop_place, ns_per_packet),
                self._tick_ns,
                self._snaplen,
                batch,
                rows,
            )
            if full:
                self.time_ns = int(batch.ts[rows - 1])
                break
            self.time_ns = stop_ns
            if stop_ns == self._tick_ns + _TICK_NS:
                self._tick = (self._tick + 1) % _RHYTHM_TICKS
                self._tick_ns = stop_ns
                self._tick_place += packets
        return int(rows)


def _make_reel(random: Random) -> tuple[_Reel, float]:
    """The reel, and its span: packets in a round, those of rare episodes by their share."""
    entries = []
    for episode in make_episodes(random, _REEL_PACKETS):
        start_s = random.uniform(0, _REEL_S)
        for event in episode.events:
            late, time_s = divmod(start_s + event.time_s, _REEL_S)
            entries.append((time_s, late, episode.every, 54 if episode.v6 else 34, event))
    entries.sort(key=lambda entry: entry[:2])
    times, rounds_late, every, transport, events = zip(*entries, strict=True)
    span = sum(1 / n for n in every)
    return _Reel(
        np.array(times) * (span / _REEL_S),
        np.array([event.kind for event in events], np.uint8),
        np.array([event.from_client for event in events], np.uint8),
        np.array(transport, np.uint8),
        np.array(rounds_late, np.int64),
        np.array(every, np.int64),
        np.cumsum([0, *(len(event.frame) for event in events)], dtype=np.int64),
        np.frombuffer(b"".join(event.frame for event in events), np.uint8),
    ), span


def _make_rhythm(random: Random) -> list[float]:
    """Factors of the rate for the ticks of two minutes; their mean is 1."""
    rhythm = []
    for tick in range(_RHYTHM_TICKS):
        turn = 2 * math.pi * tick / _RHYTHM_TICKS
        rhythm.append((1 + 0.4 * math.sin(2 * turn) + 0.2 * math.sin(9 * turn)) * random.uniform(0.9, 1.1))
    for start in random.sample(range(0, _RHYTHM_TICKS, 30), 5):
        for tick in range(start, start + random.randint(8, 25)):
            rhythm[tick] *= 1.8
    mean = math.fsum(rhythm) / _RHYTHM_TICKS
    return [factor / mean for factor in rhythm]


@kernel
def _play(
    reel: _Reel,
    span: float,
    cursor: npt.NDArray[np.int64],
    places: tuple[float, float, float],
    start_ns: int,
    snaplen: int,
    batch: _Batch,
    rows: int,
) -> tuple[int, bool]:
    """Append the frames from `cursor` up to a place: (rows, whether the batch is full).

    `places` are the tick's start, where to stop, and ns per packet; the tick starts at `start_ns`.
    """
    start_place, stop_place, ns_per_packet = places
    while True:
        loop, index = cursor[0], cursor[1]
        place = loop * span + reel.when[index]
        if place >= stop_place:
            return rows, False
        generation = loop - reel.late[index]
        if generation >= 0 and generation % reel.every[index] == 0:
            source = reel.data[reel.offsets[index] : reel.offsets[index + 1]]
            kept = min(source.size, snaplen)
            begin = batch.offsets[rows]
            if rows == batch.ts.size or begin + kept > batch.data.size:
                return rows, True
            frame = batch.data[begin : begin + kept]
            for k in range(frame.size):
                frame[k] = source[k]
            _renew(frame, reel.kind[index], reel.transport[index], reel.from_client[index], generation)
            batch.ts[rows] = start_ns + np.int64(max(place - start_place, 0.0) * ns_per_packet)
            batch.orig_len[rows] = source.size
            rows += 1
            batch.offsets[rows] = begin + kept
        cursor[1] = index + 1
        if cursor[1] == reel.when.size:
            cursor[0], cursor[1] = loop + 1, 0


@kernel
def _renew(frame: Bytes, kind: int, transport: int, from_client: int, generation: int) -> None:
    """Give a frame the ports and sequence numbers of its round, unless it was cut before they end."""
    at = int(transport)
    if kind == FIXED or frame.size < at + (20 if kind == TCP else 8):
        return
    if kind == ECHO:
        port_at, checksum_at = at + 4, at + 2
    else:
        port_at = at if from_client else at + 2
        checksum_at = at + 6 if kind == UDP else at + 16
    total = np.int64(0xFFFF) ^ _get16(frame, checksum_at)
    port = _get16(frame, port_at)
    total += _put16(frame, port_at, _FIRST_PORT + (port - _FIRST_PORT + generation * _PORT_STEP) % _PORTS)
    if kind == TCP:
        step = generation * _SEQUENCE_STEP
        total += _add32(frame, at + 4, step)
        if frame[at + 13] & 0x10:
            total += _add32(frame, at + 8, step)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    checksum = total ^ 0xFFFF
    _put16(frame, checksum_at, 0xFFFF if kind == UDP and checksum == 0 else checksum)


@kernel
def _get16(frame: Bytes, at: int) -> np.int64:
    return np.int64(frame[at]) << 8 | np.int64(frame[at + 1])


@kernel
def _put16(frame: Bytes, at: int, value: int | np.int64) -> np.int64:
    """Store a number; returns what that adds to the checksum's sum (RFC 1624 equation 3)."""
    old = _get16(frame, at)
    frame[at] = value >> 8
    frame[at + 1] = value & 0xFF
    return (old ^ 0xFFFF) + value


@kernel
def _add32(frame: Bytes, at: int, step: int) -> np.int64:
    """Add to a 32-bit number; returns what that adds to the checksum's sum."""
    value = ((_get16(frame, at) << 16 | _get16(frame, at + 2)) + step) & 0xFFFFFFFF
    return _put16(frame, at, value >> 16) + _put16(frame, at + 2, value & 0xFFFF)
