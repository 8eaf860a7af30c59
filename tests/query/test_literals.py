from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aishark_panel.errors import ExpressionError
from aishark_panel.query import literals
from aishark_panel.query.syntax import Bare, Literal, Number, Text
from aishark_panel.query.tokens import tokenize
from tests.query.blocks import address_words


@pytest.mark.parametrize(
    "text",
    ["2024-05-31", "2024-05-31 14:00", "2024-05-31T14:00:07", "2024-05-31 14:00:07.5", "2024-05-31T14:00:07.123456789Z",
     "2024-05-31T14:00:07+02:00", "1969-12-31 23:59:59.999999999", "2024-05-31 14:00-05:30"],
)  # fmt: skip
def test_times_are_what_pandas_reads(text: str) -> None:
    stamp = pd.Timestamp(text)
    expected = stamp.tz_localize("UTC") if stamp.tz is None else stamp
    assert literals.time_ns(Text(0, text)) == expected.as_unit("ns").value


def test_a_number_is_a_time_in_seconds_and_keeps_its_nanoseconds() -> None:
    assert literals.time_ns(Number(0, "1700000000.123456789", 1700000000.123456789)) == 1_700_000_000_123_456_789
    assert literals.time_ns(Number(0, "1700000000", 1700000000)) == 1_700_000_000_000_000_000
    assert literals.time_ns(Number(0, "0x10", 16)) == 16_000_000_000


ONES = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"


@pytest.mark.parametrize(
    ("text", "mask"),
    [("10.1.2.3", ONES), ("10.1.2.3/32", ONES),
     ("10.0.0.0/8", "ffff:ffff:ffff:ffff:ffff:ffff:ff00::"), ("0.0.0.0/0", "ffff:ffff:ffff:ffff:ffff:ffff::"),
     ("2001:db8::/33", "ffff:ffff:8000::"), ("::/0", "::"), ("fe80::1", ONES)],
)  # fmt: skip
def test_networks_are_words_as_the_columns_store_them(text: str, mask: str) -> None:
    network = literals.network(Bare(0, text))
    assert np.array_equal(network.value, address_words(text.partition("/")[0]))
    assert np.array_equal(network.mask, address_words(mask))
    assert network.is_v6 == (":" in text)


def test_bits_after_the_prefix_are_ignored() -> None:
    assert literals.network(Text(0, "10.9.9.9/8")) == literals.network(Text(0, "10.0.0.0/8"))


def test_mac_addresses_and_bytes() -> None:
    assert literals.mac(Text(0, "00-11-22-AA-bb-CC")) == literals.mac(Bare(0, "00:11:22:aa:bb:cc")) == 0x001122AABBCC
    assert literals.frame_bytes(Bare(0, "47:45:54")) == b"GET"
    assert literals.frame_bytes(Text(0, "47:45:54")) == b"47:45:54"
    assert literals.frame_bytes(Text(0, "\N{GREEK SMALL LETTER ALPHA}")) == b"\xce\xb1"


@pytest.mark.parametrize(
    ("function", "literal"),
    [
        (literals.network, Text(7, "10.0.0.256")), (literals.network, Text(7, "10.0.0.0/33")),
        (literals.network, Text(7, "localhost")), (literals.network, Number(7, "10", 10)),
        (literals.mac, Text(7, "00:11:22:aa:bb")), (literals.mac, Text(7, "00:11-22:aa:bb:cc")),
        (literals.mac, Number(7, "1", 1)),
        (literals.time_ns, Text(7, "yesterday")), (literals.time_ns, Text(7, "2024-02-30")),
        (literals.time_ns, Text(7, "2024-05-31 14:00:00.1234567890")), (literals.time_ns, Number(7, "1e12", 1e12)),
        (literals.frame_bytes, Number(7, "1", 1)),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_with_an_example(
    function: Callable[[Literal], object], literal: Literal
) -> None:
    with pytest.raises(ExpressionError, match=r"; write|2262|such as") as caught:
        function(literal)
    assert caught.value.position == 7


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_any_text_is_quoted_on_one_line(text: str) -> None:
    written = literals.quote(text)
    token, end = tokenize(written)
    assert (token.kind, token.text, end.kind) == ("text", text, "end")
    assert len(written.splitlines()) <= 1 or not {"\n", "\r"} & set(written)
