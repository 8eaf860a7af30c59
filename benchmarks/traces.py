"""Seeded traces for the benchmarks, as pcap files."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from aishark_panel.agent.synthetic import make_trace
from aishark_panel.wire.pcapwrite import PcapWriter

__all__ = ["write_trace"]


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
