import math
import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aishark_panel.errors import ExpressionError
from aishark_panel.query import compile_expression
from aishark_panel.query.names import resolve
from aishark_panel.query.rows import Rows
from aishark_panel.query.texts import entropies, lengths, text_numbers
from aishark_panel.wire.packets import Interface, Packets
from tests.query.blocks import SAMPLE, fill


def with_hosts(hosts: list[str]) -> Packets:
    return fill({**SAMPLE[0], "http_host": host} for host in hosts)


def selected(packets: Packets, text: str, start: int = 0) -> list[bool]:
    mask: list[bool] = compile_expression(text).mask(packets, start, packets.length).tolist()
    return mask


word = st.text("abc.\N{GREEK SMALL LETTER ALPHA}'\\", min_size=1, max_size=4)


@settings(max_examples=200, deadline=None)
@given(st.lists(word, min_size=1, max_size=9), word, st.integers(0, 8))
def test_plain_text_conditions_are_what_python_says(hosts: list[str], part: str, start: int) -> None:
    packets, start = with_hosts(hosts), min(start, len(hosts))
    quoted = "'" + part.replace("\\", "\\\\").replace("'", "\\'") + "'"
    assert selected(packets, f"http_host == {quoted}", start) == [host == part for host in hosts[start:]]
    assert selected(packets, f"http_host < {quoted}", start) == [host < part for host in hosts[start:]]
    assert selected(packets, f"http_host in [{quoted}, 'b']", start) == [host in (part, "b") for host in hosts[start:]]
    assert selected(packets, f"http_host contains {quoted}", start) == [part in host for host in hosts[start:]]
    assert selected(packets, f"http_host.str.startswith({quoted})", start) == [
        h.startswith(part) for h in hosts[start:]
    ]
    assert selected(packets, f"http_host.str.endswith({quoted})", start) == [h.endswith(part) for h in hosts[start:]]


@pytest.mark.parametrize("regex", ["a.c", "^a", "c$", "a|b", "[ab]{2}", r"\.", "a+b*", "(?i)A", r"\bb"])
def test_regular_expressions_are_what_python_says(regex: str) -> None:
    hosts = ["abc", "a.c", "bca", "cab", "AB", "aab", "c b", ""]
    packets = with_hosts(hosts)
    text = f"http_host.str.contains(r'{regex}'"
    expected = [bool(h) and bool(re.search(regex, h)) for h in hosts]
    assert [found and bool(h) for found, h in zip(selected(packets, text + ")"), hosts, strict=True)] == expected
    ignoring = [bool(h) and bool(re.search(regex, h, re.IGNORECASE)) for h in hosts]
    for spelling in (text + ", case=False)", f"http_host matches r'{regex}'"):
        assert [found and bool(h) for found, h in zip(selected(packets, spelling), hosts, strict=True)] == ignoring


@pytest.mark.parametrize("regex", ["a.c", "a|b", "[ab]{2}", "a+b*", "(?i)A", "", "b$|^c"])
def test_matches_at_the_start_and_of_the_whole_are_what_python_says(regex: str) -> None:
    hosts = ["abc", "a.c", "bca", "cab", "AB", "aab", "c b", "a\nb"]
    packets = with_hosts(hosts)
    assert selected(packets, f"http_host.str.match('{regex}')") == [bool(re.match(regex, h)) for h in hosts]
    assert selected(packets, f"http_host.str.fullmatch('{regex}', case=False)") == [
        bool(re.fullmatch(regex, h, re.IGNORECASE)) for h in hosts
    ]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(min_size=1, max_size=9), min_size=1, max_size=9), st.integers(0, 8))
def test_lengths_and_entropies_are_what_python_says(hosts: list[str], start: int) -> None:
    packets, start = with_hosts(hosts), min(start, len(hosts))
    rows = Rows(packets, start, len(hosts), [])
    (field,) = resolve("http_host", 0).fields
    assert text_numbers(field, lengths, np.int32)(rows).tolist() == [len(host) for host in hosts[start:]]
    bits = []
    for host in hosts[start:]:
        counts = Counter(host.encode())
        bits.append(-sum(n / counts.total() * math.log2(n / counts.total()) for n in counts.values()))
    assert text_numbers(field, entropies, np.float64)(rows) == pytest.approx(bits, abs=1e-12)


def test_case_and_regex_can_be_switched_off() -> None:
    packets = with_hosts(["a.c", "abc", "A.C"])
    assert selected(packets, "http_host.str.contains('a.c')") == [True, True, False]
    assert selected(packets, "http_host.str.contains('a.c', regex=False)") == [True, False, False]
    assert selected(packets, "http_host.str.contains('a.c', regex=False, case=False)") == [True, False, True]


def test_texts_that_are_not_utf_8_are_searched_all_the_same() -> None:
    packets = with_hosts(["ok\udcff\udcfe", "\udce2\udc82", "ok"])
    assert selected(packets, "http_host contains 'ok'") == [True, False, True]
    assert selected(packets, "http_host matches '^ok'") == [True, False, True]
    assert selected(packets, "http_host == 'ok'") == [False, False, True]
    assert selected(packets, "http_host matches 'x.*y'") == [False, False, False]


def test_a_block_without_any_text_selects_nothing() -> None:
    packets = fill([SAMPLE[4]])
    for text in ("http_host == 'x'", "not http_host == 'x'", "http_host matches '.*'", "http_host contains ''"):
        assert selected(packets, text) == [False]


def test_only_the_texts_of_the_rows_asked_for_are_decided_and_that_is_enough() -> None:
    packets = with_hosts([f"host{i}" for i in range(100)])
    mask = compile_expression("http_host matches 'host9.$'").mask(packets, 95, 98)
    assert mask.tolist() == [True, True, True]


def test_a_regex_that_re2_refuses_is_named_without_its_whole_text() -> None:
    with pytest.raises(ExpressionError, match=r"RE2 does not accept .*: missing \) at") as caught:
        compile_expression("http_host.str.contains('" + "(" * 500 + "')")
    assert caught.value.position == 23


def test_an_interface_the_session_does_not_list_has_no_name() -> None:
    packets = fill([{**SAMPLE[0], "iface": code} for code in (0, 1, 2, 65_535)])
    predicate = compile_expression("iface == 'eth0'")
    assert predicate.mask(packets, 0, 4, [Interface("edge", "eth0", 1)]).tolist() == [True, False, False, False]
    assert predicate.mask(packets, 0, 4).tolist() == [False] * 4


def test_texts_that_come_later_and_those_of_other_blocks_are_decided_too() -> None:
    predicate = compile_expression("http_host contains 'b'")
    block, other = with_hosts(["a", "ab", "c", "b"]), with_hosts(["b", "a"])
    count = int(block.texts.counts[0])
    block.texts.counts[0] = block.columns.http_host[1]  # the writer is still at the second row
    assert predicate.mask(block, 0, 2).tolist() == [False, True]
    block.texts.counts[0] = count
    assert predicate.mask(block, 0, 4).tolist() == [False, True, False, True]
    assert predicate.mask(other, 0, 2).tolist() == [True, False]
    other.clear()
    again = with_hosts(["a", "b"])
    other.columns.http_host[:2], other.length = again.columns.http_host, 2
    for kept, new in zip(other.texts, again.texts, strict=True):
        kept[: len(new)] = new
    assert predicate.mask(other, 0, 2).tolist() == [False, True]
