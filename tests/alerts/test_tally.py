"""What a backtest counts: alerts by rule and key, how long they fired, how noisy that is."""

import pytest

from aishark_panel.alerts import tally
from aishark_panel.alerts.tally import Tally
from aishark_panel.wire.frames import Frames
from tests.alerts.blocks import INTERFACES, block, one_rule, udp
from tests.traffic import START_NS, udp_frame


def tried(counted: Tally, frames: Frames) -> Tally:
    packets = block(frames)
    counted.take(packets, 0, packets.length, INTERFACES)
    counted.finish()
    return counted


def test_alerts_are_counted_by_key_and_time() -> None:
    rule = one_rule(by="[src_ip]", over="1s", having="packets >= 5")
    begins = (("10.0.0.1", 0.0), ("10.0.0.2", 1.0))
    rows = [*((begin + i / 10, source) for source, begin in begins for i in range(20)), (3_600.0, "10.0.0.1")]
    content = [udp_frame(source, "10.0.0.9", 1, 2) for _, source in sorted(rows)]
    counted = tried(Tally([rule]), Frames.from_list(content, [START_NS + round(t * 1e9) for t, _ in sorted(rows)]))
    (line,) = counted.rules()
    assert (line["rule"], line["alerts"], line["keys"], line["noise"]) == ("tested", 2, 2, "quiet")
    assert line["firing_s"] == pytest.approx(3.1)  # from 0.5 s to 3.6 s: what fires at the same time counts once
    assert line["per_hour"] == pytest.approx(2, rel=0.01)
    assert [(alert["key"]["src_ip"], alert["state"]) for alert in counted.alerts] == [
        ("10.0.0.1", "resolved"),
        ("10.0.0.2", "resolved"),
    ]
    assert (counted.packets, counted.span_ns) == (41, 3_600 * 10**9)


def test_a_rule_that_fires_all_the_time_is_noisy() -> None:
    rule = one_rule(over="1s", having="packets >= 2")
    busy = tried(Tally([rule]), udp([4 * i + j / 10 for i in range(20) for j in range(2)]))
    assert busy.rules()[0]["noise"] == "noisy"


def test_what_is_listed_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tally, "MAX_LISTED", 3)
    content = [udp_frame(f"10.0.1.{i}", "10.0.0.9", 1, 2) for i in range(10)]
    counted = tried(Tally([one_rule(by="[src_ip]", over="1s")]), Frames.from_list(content, [START_NS] * 10))
    assert (len(counted.alerts), counted.more, counted.rules()[0]["alerts"]) == (3, 7, 10)
