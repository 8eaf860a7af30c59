"""The kernels compiled anew with every index checked: a read outside its array raises, and none is found.

Frames are offered one by one in arrays of exactly their size, so outside the array is outside the frame.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

SCRIPT = """
import numpy as np
from aishark_panel.dissect import dissect
from aishark_panel.dissect.heads import Heads
from aishark_panel.wire.frames import Frames
from aishark_panel.wire.packets import Packets
from tests.fuzz.mutate import LINKS, Pool, captured, made_frames, mutated
from tests.fuzz.test_fuzz_dissect import SHARED

codes = np.arange(len(LINKS), dtype=np.uint16)
block = Packets(64)
heads = Heads()

def alone(data, orig_len, iface, length=None):
    offsets = np.array([0, len(data) if length is None else length], np.int32)
    frame = Frames(np.zeros(1, np.int64), np.array([orig_len], np.uint32), np.array([iface], np.uint16), offsets, data)
    if dissect(frame, 0, LINKS, codes, block) == 0:
        block.clear()
        assert dissect(frame, 0, LINKS, codes, block) == 1
    heads.find(frame, LINKS)

good = np.frombuffer(made_frames()[1][0], np.uint8).copy()
try:
    alone(good[:30].copy(), len(good), made_frames()[1][1], len(good))
except IndexError:
    print("a read outside raises")

seeds = made_frames() + (captured(SHARED, 10) if SHARED.is_dir() else [])
for frame, link in seeds:
    alone(np.frombuffer(frame, np.uint8).copy(), len(frame), link)
frames = mutated(Pool(seeds), 30_000, np.random.default_rng(1))
for i in range(len(frames)):
    start, stop = frames.offsets[i : i + 2]
    alone(frames.data[start:stop].copy(), frames.orig_len[i], frames.iface[i])
print("all reads stayed inside")
"""


@pytest.mark.timeout(600)
def test_no_kernel_reads_outside_an_array(tmp_path: Path) -> None:
    # Not optimised: what is read remains the same, and it is compiled in two thirds of the time.
    environment = os.environ | {"NUMBA_BOUNDSCHECK": "1", "NUMBA_OPT": "0", "NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=580, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["a read outside raises", "all reads stayed inside"]
