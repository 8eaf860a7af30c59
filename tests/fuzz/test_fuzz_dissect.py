"""Mutated frames into the dissector: no fault, and each row follows from its frame alone.

AISHARK_FUZZ_FRAMES sets how many frames are made (its default is for every run of the tests; ten million take some
20 s). The seed of a failing batch is in the message.
"""

import os
from pathlib import Path

import numpy as np
import pytest

from aishark_panel.dissect import dissect
from aishark_panel.wire.packets import Packets
from aishark_panel.wire.schema import COLUMNS, Kind
from tests.fuzz.mutate import LINKS, Pool, captured, made_frames, mutated, shuffled

FRAMES = int(os.environ.get("AISHARK_FUZZ_FRAMES", "200000"))
BATCH_FRAMES = 20_000
PER_FILE = 40
CODES = np.arange(len(LINKS), dtype=np.uint16)
SHARED = Path(__file__).resolve().parents[3] / "shared" / "captures"


def fresh_block() -> Packets:
    block = Packets(BATCH_FRAMES, text_bytes=256 * BATCH_FRAMES)
    for column in block.columns:
        column.view(np.uint8).fill(0xA5)  # what a kernel leaves unwritten differs from what it should be
    return block


@pytest.mark.timeout(60 + FRAMES // 2_000)
def test_no_mutated_frame_does_harm_and_neighbours_do_not_matter() -> None:
    pool = Pool(made_frames() + (captured(SHARED, PER_FILE) if SHARED.is_dir() else []))
    one, other = fresh_block(), fresh_block()
    for batch in range(-(-FRAMES // BATCH_FRAMES)):
        rng = np.random.default_rng(batch)
        frames = mutated(pool, BATCH_FRAMES, rng)
        order = rng.permutation(BATCH_FRAMES)
        for block, offered in ((one, frames), (other, shuffled(frames, order))):
            block.clear()
            assert dissect(offered, 0, LINKS, CODES, block) == BATCH_FRAMES, f"batch {batch}: the texts did not fit"
        for column in COLUMNS:
            if column.name == "frame_pos":
                continue
            ours, others = one.values(column.name)[order], other.values(column.name)
            if column.kind is Kind.TEXT:  # codes count texts in the order they come
                texts, other_texts = (np.array(block.text_values(), object) for block in (one, other))
                ours, others = texts[ours], other_texts[others]
            differ = np.flatnonzero((ours != others).reshape(BATCH_FRAMES, -1).any(1))
            assert differ.size == 0, f"batch {batch}: {column.name} of frames {order[differ[:5]]} depends on others"
        whole = frames.orig_len == np.diff(frames.offsets)
        assert not (one.values("truncated").astype(bool) & whole).any(), f"batch {batch}: a whole frame is truncated"
        assert (one.values("payload_len") <= frames.orig_len).all(), f"batch {batch}: a payload exceeds its frame"
