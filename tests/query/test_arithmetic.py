import pytest

from aishark_panel.errors import ExpressionError
from aishark_panel.query import compile_expression
from aishark_panel.wire.packets import Packets
from tests.query.blocks import SAMPLE, fill


def holds(packets: Packets, text: str) -> bool:
    return bool(compile_expression(text).mask(packets, 0, 1)[0])


@pytest.fixture
def largest() -> Packets:
    """One TCP packet whose every number is as large as its column can hold."""
    return fill([{**SAMPLE[0], "tcp_seq": 2**32 - 1, "tcp_ack": 2**32 - 1, "src_port": 65_535, "dst_port": 65_535}])


@pytest.mark.parametrize(
    "text",
    [
        "tcp_seq + tcp_ack == 8589934590",
        "src_port * dst_port == 4294836225",
        "tcp_seq * 1000000 == 4294967295000000",
        "src_port - 65536 == -1",
        "-src_port == -65535",
        "0 - src_port - dst_port == -131070",
        "(src_port - 65536) % 10 == 9",
        "(src_port - 65536) // 10 == -1",
        "src_port % -10 == -5",
        "tcp_seq / 2 == 2147483647.5",
        "tcp_seq // src_port == 65537",
        "tcp_seq % (src_port - 1) == 3",
        "(src_port & 0xff) == 255",
        "(tcp_seq | 0) == tcp_ack",
        "src_port + 0.5 > 65535",
        "3 * 7 - 1 + src_port == 65555",
    ],
)
def test_results_are_exact_whatever_the_columns_width(largest: Packets, text: str) -> None:
    assert holds(largest, text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("tcp_seq * tcp_ack > 1", "the result may be too large"),
        ("tcp_seq + 18446744073709551615 > 1", "may be too large"),
        ("conversation_id + 1 > 1", "conversation_id may be too large"),
        ("src_port" + " * 9" * 20 + " > 1", "may be too large"),
        ("src_port / 0 > 1", "'/' by zero has no result"),
        ("src_port % (3 - 3) > 1", "by zero"),
        ("9999999999999999 * 9 == src_port", "may be too large"),
        ("1e300 * 1e300 < src_port", "larger than any column|too large"),
        ("(src_port & -1) == 1", "whole numbers from 0 up"),
        ("(src_port | 1.5) == 1", "whole numbers from 0 up"),
        ("(1 & 2) == src_port", "joins constants only"),
    ],
)
def test_what_might_not_be_exact_is_refused_when_compiled(text: str, says: str) -> None:
    with pytest.raises(ExpressionError, match=says):
        compile_expression(text)


def test_a_fraction_too_large_for_float64_is_null(largest: Packets) -> None:
    text = "src_port / 1e-19" + " / 1e-19" * 16 + " > 1"
    assert not holds(largest, text)
    assert not holds(largest, f"not {text}")


def test_a_long_sum_needs_no_deep_recursion(largest: Packets) -> None:
    assert holds(largest, "src_port" + "+1" * 900 + " == 66435")
