"""Conditions on windows: what they mean, and what is refused."""

import numpy as np
import pytest

from aishark_panel.alerts.having import compile_having
from aishark_panel.errors import ExpressionError

NUMBERS = {
    "packets": np.array([1.0, 10.0, 100.0]),
    "bytes": np.array([60.0, 6_000.0, 0.0]),
    "packets_per_s": np.array([0.1, 1.0, 10.0]),
    "bits_per_s": np.array([48.0, 4_800.0, 0.0]),
    "nunique_dst_port": np.array([1.0, 5.0, 20.0]),
    "mean_ip_ttl": np.array([np.nan, 64.0, 32.0]),
    "max_tcp_window": np.array([-np.inf, 1.0, 2.0]),
    "count_1": np.array([0.0, 5.0, 90.0]),
    "before_packets": np.array([np.nan, 1.0, 100.0]),
    "before_nunique_dst_port": np.array([0.0, 5.0, 1.0]),
}


@pytest.mark.parametrize(
    ("text", "met"),
    [
        ("packets >= 10", [False, True, True]),
        ("packets >= 10 and nunique(dst_port) < 20", [False, True, False]),
        ("packets == 1 or nunique(dst_port) >= 2e1", [True, False, True]),
        ("1 < packets <= 100", [False, True, True]),
        ("bytes / packets > 100", [False, True, False]),
        ("100 - packets * 2 < 0", [False, False, True]),
        ("-packets < -50", [False, False, True]),
        ("packets / bytes > 0.01", [True, False, False]),
        ("mean(ip_ttl) < 100", [False, True, True]),
        ("mean(ip_ttl) != 64", [False, False, True]),
        ("max(tcp_window) < 100", [False, True, True]),
        ("count('tcp_flags == 2') / packets >= 0.5", [False, True, True]),
        ("packets > 5 & bits_per_s > 0 | packets_per_s < 0.5", [True, True, False]),
        ("2 > 1", [True, True, True]),
        ("packets > 5 * before(packets)", [False, True, False]),
        ("nunique(dst_port) > before(nunique(dst_port))", [True, False, True]),
    ],
)
def test_what_conditions_mean(text: str, met: list[bool]) -> None:
    assert compile_having(text).test(NUMBERS).tolist() == met


def test_equal_calls_are_one_aggregate() -> None:
    having = compile_having("count('tcp') > 1 and count('udp') > 1 and count('tcp') < 5 and nunique(src_ip) > 1")
    assert [a.name for a in having.aggregates] == ["count_1", "count_2", "nunique_src_ip"]


@pytest.mark.parametrize(
    ("text", "message", "position"),
    [
        ("packets", "expected a comparison", 0),
        ("5", "expected a comparison", 0),
        ("not packets > 5", "expected a comparison", 0),
        ("packets > 5 and", "expected a column or a value", 15),
        ("pakets > 5", "did you mean packets", 0),
        ("nunique(dst_prt) > 5", "did you mean dst_port", 8),
        ("nunique(dst_port, src_port) > 5", "write it like nunique", 0),
        ("nunique('dst_port') > 5", "write it like nunique", 0),
        ("nunique(ts) > 5", "differs in every packet", 8),
        ("mean(src_ip) > 5", "has no mean", 5),
        ("max(dns_query) > 5", "has no max", 4),
        ("count(tcp) > 5", "write it like count", 0),
        ("before(before(packets)) > 5", "write it like before", 0),
        ("before(pakets) > 5", "did you mean packets", 7),
        ("before('tcp') > 5", "write it like before", 0),
        ("p95(dns_query) > 5", "has no p95", 4),
        ("count('tcp_flgs == 2') > 5", "did you mean tcp_flags", 7),
        ("has(tcp_flags, 'SYN') > 5", "the functions are nunique, sum, mean, min, max", 0),
        ("packets // 2 > 5", "not for aggregates", 8),
        ("packets in [5]", "expected a comparison", 8),
        ("packets > 'x'", "expected a number", 10),
        ("packets.__class__ > 5", "no aggregate", 0),
        ("@x > 5", "'@' is not allowed", 0),
        ("(" * 60 + "packets > 5" + ")" * 60, "deep", 50),
        (" or ".join(f"nunique(src_port) > count('src_port == {i}')" for i in range(20)), "at most 16", None),
        ("", "expected a column", 0),
    ],
)
def test_what_is_refused_and_where(text: str, message: str, position: int | None) -> None:
    with pytest.raises(ExpressionError, match=message) as caught:
        compile_having(text)
    assert position is None or caught.value.position == position
