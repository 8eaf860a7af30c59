"""Mutated frames in bulk: batches with bytes changed and cut off, made by numpy from a pool of good frames."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from aishark_panel.capturefile import open_capture
from aishark_panel.errors import CaptureFileError
from aishark_panel.wire.frames import Frames
from tests.dissect.seeds import LINK_TYPES, SEEDS
from tests.dissect.test_tunnel import TUNNELS

__all__ = ["LINKS", "Pool", "captured", "made_frames", "mutated", "shuffled"]

LINKS = np.array([*LINK_TYPES, 51, 100, 107, 204, 226, 239, 242, 258, 281, 282, 284, 285], np.int32)
ETHERNET_INDEX = LINK_TYPES.index(1)
LONGEST_BYTES = 400
"""Longer frames are cut: what lies deeper is hardly ever read."""
TELLING_BYTES = np.array([0, 1, 2, 4, 6, 8, 0x11, 0x2F, 0x45, 0x60, 0x7F, 0x80, 0x81, 0xFE, 0xFF], np.uint8)
"""Lengths, types and flags at which parsers turn off"""

Seed = tuple[bytes, int]
"""(frame, index of its link type in LINKS)"""


def made_frames() -> list[Seed]:
    """A frame of each kind the dissector knows."""
    return [(frame, ETHERNET_INDEX) for frame in [*SEEDS, *map(bytes, TUNNELS.values())]]


def captured(folder: Path, per_file: int) -> list[Seed]:
    """The first frames of each capture file below a folder."""
    seeds: list[Seed] = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        try:
            with open_capture(path) as capture:
                frames = next(iter(capture), None)
                link_types = [interface.link_type for interface in capture.interfaces]
        except CaptureFileError:
            continue
        if frames is None:
            continue
        for i in range(min(per_file, len(frames))):
            known = np.flatnonzero(link_types[frames.iface[i]] == LINKS)
            start, stop = frames.offsets[i : i + 2]
            frame = frames.data[start : min(stop, start + LONGEST_BYTES)].tobytes()
            seeds.append((frame, int(known[0]) if known.size else 0))
    return seeds


class Pool:
    """Seeds as one array."""

    def __init__(self, seeds: Sequence[Seed]) -> None:
        frames = [frame[:LONGEST_BYTES] for frame, _ in seeds]
        self.data = np.frombuffer(b"".join(frames), np.uint8)
        self.lengths = np.array([len(frame) for frame in frames])
        self.starts = np.cumsum(self.lengths) - self.lengths
        self.links = np.array([link for _, link in seeds], np.uint16)


def mutated(pool: Pool, count: int, rng: np.random.Generator) -> Frames:
    """`count` frames: of each a few bytes changed, or none; some cut short, some said to be longer on the wire."""
    chosen = rng.integers(0, len(pool.lengths), count)
    skipped = np.where(
        rng.random(count) < 0.1, rng.choice([14, 18, 22], count), 0
    )  # so that other link types find much
    lengths = np.maximum(pool.lengths[chosen] - skipped, 0)
    is_cut = rng.random(count) < 0.3
    lengths = np.where(is_cut, rng.integers(0, lengths + 1), lengths)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    within = np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths)
    data = pool.data[np.repeat(pool.starts[chosen] + skipped, lengths) + within]
    if len(data):
        for changes, values in (
            (2 * count, rng.integers(0, 256, 2 * count)),
            (count, rng.choice(TELLING_BYTES, count)),
        ):
            frame = rng.integers(0, count, changes)
            # Headers are in front; a change there does more than one in a payload.
            depth = (lengths[frame] * rng.random(changes) ** 2).astype(np.int64)
            data[np.minimum(offsets[frame] + depth, len(data) - 1)] = values
    links = np.where(rng.random(count) < 0.15, rng.integers(0, len(LINKS), count), pool.links[chosen])
    return Frames(
        ts=np.arange(count, dtype=np.int64),
        orig_len=(lengths + np.where(rng.random(count) < 0.3, 60, 0)).astype(np.uint32),
        iface=links.astype(np.uint16),
        offsets=offsets.astype(np.int32),
        data=data,
    )


def shuffled(frames: Frames, order: npt.NDArray[np.intp]) -> Frames:
    """The same frames in another order."""
    lengths = np.diff(frames.offsets)[order]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    within = np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths)
    data = frames.data[np.repeat(frames.offsets[:-1][order], lengths) + within]
    return Frames(
        ts=frames.ts[order],
        orig_len=frames.orig_len[order],
        iface=frames.iface[order],
        offsets=offsets.astype(np.int32),
        data=data,
    )
