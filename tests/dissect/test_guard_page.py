"""No read leaves its frame: proved with memory that may not be touched directly before and behind it."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

SCRIPT = """
import ctypes, mmap, random
import numpy as np
from aishark_panel.dissect import dissect
from aishark_panel.wire.frames import Frames
from aishark_panel.wire.packets import Packets
from tests.dissect.seeds import LINK_TYPES, SEEDS

page = mmap.PAGESIZE
memory = mmap.mmap(-1, 3 * page)
middle = np.frombuffer(memory, np.uint8)[page : 2 * page]
libc = ctypes.CDLL(None, use_errno=True)
address = middle.ctypes.data
for guard in (address - page, address + page):
    assert libc.mprotect(ctypes.c_void_p(guard), ctypes.c_size_t(page), 0) == 0

rng = random.Random(1)
link_types, codes = np.array(LINK_TYPES, np.int32), np.zeros(len(LINK_TYPES), np.uint16)
block = Packets(64)
for turn in range(6000):
    frame = bytearray(rng.choice(SEEDS))
    if rng.random() < 0.3:
        del frame[: rng.choice((14, 18, 22))]
    for _ in range(rng.choice((0, 0, 1, 3))):
        frame[rng.randrange(len(frame))] = rng.choice((0, 255, rng.randrange(256)))
    del frame[rng.randrange(len(frame) + 1) :]
    length = len(frame)
    for data in (middle[:length], middle[page - length :]):
        data[:] = frame
        iface = 1 if rng.random() < 0.7 else rng.randrange(len(LINK_TYPES))
        frames = Frames(
            np.zeros(1, np.int64), np.full(1, length + rng.choice((0, 60)), np.uint32), np.full(1, iface, np.uint16),
            np.array([0, length], np.int32), data,
        )
        if dissect(frames, 0, link_types, codes, block) == 0:
            block.clear()
            assert dissect(frames, 0, link_types, codes, block) == 1
print("all reads stayed inside")
"""


def test_no_byte_outside_a_frame_is_read() -> None:
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, f"ended by {done.returncode} (-11: a read outside the frame): {done.stderr}"
    assert "inside" in done.stdout
