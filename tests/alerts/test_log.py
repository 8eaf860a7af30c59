"""The log of alerts: what readers are told, by cursor, and what is told once."""

from collections.abc import Sequence

import pytest

from aishark_panel.alerts.engine import AlertEvent
from aishark_panel.alerts.log import AlertLog
from aishark_panel.query import compile_expression
from aishark_panel.wire.frames import Frames
from aishark_panel.wire.packets import Interface, Packets
from tests.alerts.blocks import INTERFACES, SECOND, block, one_rule, scan, udp
from tests.traffic import START_NS, udp_frame

SUMMARY = "{summary: '{src_ip}: {packets}'}"
DNS = b"\0\1\1\0\0\1\0\0\0\0\0\0\6it\\'s!\3com\0\0\1\0\1"


def take(log: AlertLog, frames: Frames) -> None:
    packets = block(frames)
    log.take(packets, 0, packets.length, INTERFACES)
    log.settle()


def test_packets_wait_for_company_and_then_count_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aishark_panel.alerts.log._ENOUGH_ROWS", 4)
    log = AlertLog([one_rule(over="1s", having="packets == 8")])
    seen: list[tuple[int, int]] = []
    engine_take = log._engine.take

    def take_noted(packets: Packets, start: int, stop: int, interfaces: Sequence[Interface]) -> list[AlertEvent]:
        seen.append((start, stop))
        return engine_take(packets, start, stop, interfaces)

    monkeypatch.setattr(log._engine, "take", take_noted)
    first, second = block(udp([0.01 * i for i in range(8)])), block(udp([0.1, 0.11, 0.12, 5.0]))
    for packets, start, stop in ((first, 0, 3), (first, 3, 5), (first, 5, 6), (second, 0, 2), (second, 3, 4)):
        log.take(packets, start, stop, INTERFACES)
    assert seen == [(0, 5), (5, 6), (0, 2)]
    log.tick(0.0)
    log.tick(0.1)
    assert seen == [(0, 5), (5, 6), (0, 2), (3, 4)]
    log.take(second, 2, 3, INTERFACES)
    log.finish()
    assert seen[4:] == [(2, 3)]
    answer = log.since(0)
    assert (len(answer["alerts"]), answer["rules"][0]["late"]) == (1, 1)


def test_a_reader_gets_what_changed_since_its_cursor() -> None:
    rule = one_rule(by="[src_ip]", over="1s", having="packets >= 2", for_="1s", annotations=SUMMARY, severity="info")
    log = AlertLog([rule])
    take(log, udp([0.05, 0.06, 1.15]))
    first = log.since(0)
    (alert,) = first["alerts"]
    assert (alert["number"], alert["rule"], alert["state"], alert["fired_ns"]) == (1, "tested", "pending", 0)
    assert (first["pending"], first["firing"], first["raised"]) == (1, 0, 1)
    assert log.since(first["next"])["alerts"] == []
    take(log, udp([2.5]))
    second = log.since(first["next"])
    (alert,) = second["alerts"]
    assert (alert["number"], alert["state"], alert["resolved_ns"]) == (1, "resolved", START_NS + 11 * SECOND // 10)
    assert (second["pending"], second["firing"], second["raised"]) == (0, 0, 1)


def test_an_alert_tells_how_it_fired_and_how_to_see_its_packets() -> None:
    rule = one_rule(where="udp", by="[src_ip, src_port, dns_query]", annotations=SUMMARY, labels="{team: net}")
    log = AlertLog([rule])
    frames = Frames.from_list([udp_frame("10.0.0.1", "10.0.0.2", 1_000, 53, DNS)], [START_NS])
    take(log, frames)
    log.finish()
    (alert,) = log.since(0)["alerts"]
    assert alert["key"] == {"src_ip": "10.0.0.1", "src_port": 1_000, "dns_query": "it\\'s!.com"}
    assert (alert["state"], alert["severity"], alert["labels"]) == ("resolved", "warning", {"team": "net"})
    assert alert["annotations"] == {"summary": "10.0.0.1: 1"}
    packets = block(frames)
    assert compile_expression(alert["filter"]).mask(packets, 0, 1, INTERFACES).tolist() == [True]


def test_what_fired_and_what_was_resolved_is_told_once() -> None:
    log = AlertLog([one_rule(by="[src_ip]")])
    take(log, udp([0.0, 5.0]))
    assert [(news["state"], news["number"]) for news in log.take_news()] == [("firing", 1)]
    log.finish()
    assert [(news["state"], news["number"]) for news in log.take_news()] == [("resolved", 1)]
    assert log.take_news() == []


def test_the_oldest_alerts_are_let_go_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aishark_panel.alerts.log.MAX_ALERTS", 10)
    log = AlertLog([one_rule(by="[dst_port]")])
    take(log, scan("10.0.0.1", "10.0.0.2", 25))
    log.finish()
    answer = log.since(0)
    assert [alert["number"] for alert in answer["alerts"]] == list(range(16, 26))
    assert (answer["raised"], answer["forgotten"], answer["firing"]) == (25, 15, 0)


def test_clearing_resolves_and_forgets_but_numbers_go_on() -> None:
    log = AlertLog([one_rule(by="[src_ip]")])
    take(log, udp([0.0, 5.0]))
    log.clear()
    assert [news["state"] for news in log.take_news()] == ["firing", "resolved"]
    assert log.since(0)["alerts"] == []
    take(log, udp([0.0, 5.0]))
    assert [alert["number"] for alert in log.since(0)["alerts"]] == [2]


def test_time_goes_on_when_packets_pause() -> None:
    log = AlertLog([one_rule(by="[src_ip]")])
    take(log, udp([0.0]))
    states = []
    for second in range(20):
        log.tick(100.0 + second)
        states.append([alert["state"] for alert in log.since(0)["alerts"]])
    assert states[3:5] == [[], ["firing"]]  # 1 s of window and 1 s of lateness, after 2 s of quiet
    assert states[14] == ["resolved"]
