"""Seeded traces for the benchmarks: as pcap files, and as the blocks of a ring, which long traces pass through."""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from aishark_panel.agent.synthetic import SyntheticSource, make_trace
from aishark_panel.streams.ring import BlockView, Ring
from aishark_panel.wire.frames import Frames
from aishark_panel.wire.packets import Interface
from aishark_panel.wire.pcapwrite import PcapWriter

__all__ = ["CHUNK_ROWS", "INTERFACES", "RATE_PPS", "START_NS", "blocks", "write_trace"]

START_NS = 1_700_000_000_000_000_000
CHUNK_ROWS = 8_192
"""Rows that the hub's exports take from the ring at a time."""
INTERFACES = [Interface("benchmark", "eth0", 1)]
RATE_PPS = 100_000
STEP_NS = 20_000_000
"""Of the made-up clock; at this rate no burst fills a batch, so nothing is left out."""
RING_BYTES = 64 * 2**20


def write_trace(path: Path, packets: int, *, snaplen: int = 262_144, even_pps: int = 0) -> None:
    """A mixed trace; with `even_pps` its packets are that many a second, without bursts."""
    writer = PcapWriter(link_type=1)
    done = 0
    with path.open("wb") as file:
        file.write(writer.header())
        for frames in make_trace(packets, seed=1, snaplen=snaplen):
            if even_pps:
                number = np.arange(done, done + len(frames), dtype=np.int64)
                frames = replace(frames, ts=1_700_000_000_000_000_000 + number * 1_000_000_000 // even_pps)
            file.write(writer.frames(frames))
            done += len(frames)


def stream(packets: int, *, snaplen: int, stretch: int) -> Iterator[Frames]:
    """A mixed trace of any length, of which one batch is held at a time: it is valid until the next one is taken.

    It begins at START_NS and has RATE_PPS packets a second, or, where time is stretched, the `stretch`th part of that.
    """
    clock_ns = itertools.count(START_NS, STEP_NS)
    source = SyntheticSource(RATE_PPS, seed=1, clock=lambda: next(clock_ns), snaplen=snaplen)
    while packets > 0:
        frames = source.read(0)
        if frames is not None:
            frames = frames.slice(0, min(len(frames), packets))
            packets -= len(frames)
            yield replace(frames, ts=START_NS + (frames.ts - START_NS) * stretch)


def blocks(packets: int, *, snaplen: int = 128, stretch: int = 1) -> Iterator[BlockView]:
    """A mixed trace as a hub's export sees it: dissected into a ring, and read from there CHUNK_ROWS at a time.

    A view is valid until the next one is taken.
    """
    ring = Ring(RING_BYTES)
    link_types, codes = np.array([1], np.int32), np.array([0], np.uint16)
    cursor = ring.first
    for frames in stream(packets, snaplen=snaplen, stretch=stretch):
        ring.append(frames, link_types, codes)
        while ring.end - cursor >= CHUNK_ROWS:
            with ring.read(cursor, cursor + CHUNK_ROWS) as views:
                yield from views
            cursor += CHUNK_ROWS
    with ring.read(cursor, ring.end) as views:
        yield from views
