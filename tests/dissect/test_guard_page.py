"""No read leaves its frame: proved with memory that may not be touched directly before and behind it."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

SCRIPT = """
import ctypes, mmap
import numpy as np
from aishark_panel.dissect import dissect
from aishark_panel.wire.frames import Frames
from aishark_panel.wire.packets import Packets
from tests.fuzz.mutate import LINKS, Pool, captured, made_frames, mutated
from tests.fuzz.test_fuzz_dissect import SHARED

page = mmap.PAGESIZE
memory = mmap.mmap(-1, 3 * page)
middle = np.frombuffer(memory, np.uint8)[page : 2 * page]
libc = ctypes.CDLL(None, use_errno=True)
address = middle.ctypes.data
for guard in (address - page, address + page):
    assert libc.mprotect(ctypes.c_void_p(guard), ctypes.c_size_t(page), 0) == 0

codes = np.zeros(len(LINKS), np.uint16)
block = Packets(64)

def between_guards(frame, orig_len, iface):
    length = len(frame)
    for data in (middle[:length], middle[page - length :]):
        data[:] = frame
        frames = Frames(
            np.zeros(1, np.int64), np.array([orig_len], np.uint32), np.array([iface], np.uint16),
            np.array([0, length], np.int32), data,
        )
        if dissect(frames, 0, LINKS, codes, block) == 0:
            block.clear()
            assert dissect(frames, 0, LINKS, codes, block) == 1

seeds = made_frames() + (captured(SHARED, 1_000) if SHARED.is_dir() else [])
for frame, link in seeds:
    between_guards(np.frombuffer(frame, np.uint8), len(frame), link)
frames = mutated(Pool(seeds), 20_000, np.random.default_rng(2))
for i in range(len(frames)):
    start, stop = frames.offsets[i : i + 2]
    between_guards(frames.data[start:stop], frames.orig_len[i], frames.iface[i])
print("all reads stayed inside")
"""


def test_no_byte_outside_a_frame_is_read() -> None:
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, f"ended by {done.returncode} (-11: a read outside the frame): {done.stderr}"
    assert "inside" in done.stdout
