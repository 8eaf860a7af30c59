import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aishark_panel.query import compile_expression
from aishark_panel.query.frames import frames_containing
from aishark_panel.query.rows import Rows
from tests.query.blocks import SAMPLE, fill

few_bytes = st.text("ab", max_size=12).map(str.encode) | st.binary(max_size=12)


@settings(max_examples=200, deadline=None)
@given(st.lists(few_bytes, min_size=1, max_size=6), few_bytes)
def test_frames_hold_bytes_as_python_says(frames: list[bytes], needle: bytes) -> None:
    packets = fill([SAMPLE[0]] * len(frames), frames)
    found = frames_containing(needle)(Rows(packets, 0, len(frames), ()))
    assert found.tolist() == [needle in frame for frame in frames]


@pytest.mark.parametrize(
    ("needle", "frame"),
    [
        (b"aab", b"aaab"),
        (b"abab", b"abaabab"),
        (b"aabaaa", b"aabaabaaa"),
        (b"abcabd", b"abcabcabd"),
        (b"aaa", b"aabaa"),
    ],
)
def test_a_needle_that_repeats_itself_is_found_where_it_overlaps(needle: bytes, frame: bytes) -> None:
    found = frames_containing(needle)(Rows(fill([SAMPLE[0]], [frame]), 0, 1, ()))
    assert found.tolist() == [needle in frame]


def test_a_needle_is_not_found_across_the_border_of_two_frames() -> None:
    packets = fill([SAMPLE[0]] * 3, [b"GE", b"xx", b"T "])
    assert not compile_expression("frame contains 'GET'").mask(packets, 0, 3).any()


def test_bytes_and_text_can_be_looked_for() -> None:
    packets = fill([SAMPLE[0]] * 3, [b"\x00GET / HTTP", b"\xce\xb1", b""])
    assert compile_expression("frame contains 47:45:54").mask(packets, 0, 3).tolist() == [True, False, False]
    assert compile_expression("frame contains '\N{GREEK SMALL LETTER ALPHA}'").mask(packets, 0, 3).tolist() == [
        False, True, False,
    ]  # fmt: skip
    assert compile_expression("not frame contains 'HTTP'").mask(packets, 1, 3).tolist() == [True, True]
    assert compile_expression("frame contains 'x'").mask(packets, 1, 1).tolist() == []


def test_a_frame_said_to_reach_beyond_its_piece_is_searched_to_the_pieces_end() -> None:
    packets = fill([SAMPLE[0]], [b"abc"])
    packets.columns.cap_len[0] = 2**32 - 1
    assert compile_expression("frame contains 'abc'").mask(packets, 0, 1).tolist() == [True]
    packets.columns.frame_pos[0] = np.uint64(2**packets.arena_bits - 1)
    assert compile_expression("frame contains 'abc'").mask(packets, 0, 1).tolist() == [False]
