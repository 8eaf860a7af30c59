"""The log of alerts: what readers are told, by cursor, and what is told once."""

import time
from collections.abc import Sequence

import msgspec
import pytest

from aishark_panel.alerts.engine import AlertEvent
from aishark_panel.alerts.kept import Alert, KeptAlerts
from aishark_panel.alerts.log import AlertLog, evidence_state
from aishark_panel.alerts.rule import Rule
from aishark_panel.errors import NotFoundError
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


def test_an_alert_that_is_open_stays_while_resolved_ones_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aishark_panel.alerts.log.MAX_ALERTS", 10)
    lasts = one_rule(name="lasts", where="udp", over="30s", having="packets >= 2")
    log = AlertLog([lasts, one_rule(name="ports", where="tcp", by="[dst_port]", over="1s")])
    take(log, udp([0.0, 0.1]))
    for second in (4.0, 8.0, 12.0):
        take(log, scan("10.0.0.9", "10.0.0.2", 5, start_s=second))
    take(log, udp([16.0]))
    kept = log.since(0)["alerts"]
    assert (len(kept), log.counts()["raised"]) == (10, 16)
    assert [(a["number"], a["rule"]) for a in kept if a["state"] == "firing"] == [(1, "lasts")]
    assert [a["number"] for a in continued(log).since(0)["alerts"]] == [1, *range(8, 17)]


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


def one_firing(log: AlertLog) -> Alert:
    """An alert fires, and goes on."""
    take(log, udp([0.0, 0.1, 5.0, 5.1]))
    return log.alert(log.counts()["raised"])


def lasting() -> Rule:
    return one_rule(by="[src_ip]", over="10s", having="packets >= 2")


def test_an_alert_is_acknowledged_and_archived_and_readers_are_told() -> None:
    log = AlertLog([lasting()], now_ns=lambda: 77)
    one_firing(log)
    cursor = log.since(0)["next"]
    assert log.mark(1, "ann", acknowledged=True)["acknowledged"] == {"by": "ann", "at_ns": 77}
    assert log.mark(1, "bob", acknowledged=True)["acknowledged"] == {"by": "ann", "at_ns": 77}  # who was first
    (told,) = log.since(cursor)["alerts"]
    assert (told["acknowledged"], told["archived"]) == ({"by": "ann", "at_ns": 77}, False)
    cursor = log.since(0)["next"]
    assert log.mark(1, "bob", archived=True)["archived"]
    assert log.since(0)["alerts"] == []
    assert [a["number"] for a in log.since(0, archived=True)["alerts"]] == [1]
    assert [a["archived"] for a in log.since(cursor)["alerts"]] == [True]  # who knew it is told where it went
    assert log.mark(1, "bob", acknowledged=False, archived=False)["acknowledged"] is None
    cursor = log.since(0)["next"]
    log.mark(1, "bob", acknowledged=False, archived=False)
    assert log.since(cursor)["alerts"] == []
    with pytest.raises(NotFoundError, match="no alert 2"):
        log.mark(2, "ann", archived=True)


def test_marks_stay_when_the_alert_changes_its_state() -> None:
    log = AlertLog([lasting()])
    one_firing(log)
    log.mark(1, "ann", acknowledged=True)
    log.finish()
    alert = log.alert(1)
    assert (alert["state"], alert["acknowledged"] and alert["acknowledged"]["by"]) == ("resolved", "ann")


def test_of_silenced_alerts_nobody_is_told() -> None:
    now_ns = 10**9
    log = AlertLog([lasting()], now_ns=lambda: now_ns)
    log.silences.add("tested", {"src_ip": "10.0.0.1"}, 60, "", "ann", now_ns)
    assert one_firing(log)["silenced"]
    now_ns += 61 * 10**9
    log.finish()  # after the silence, but nobody knows what would be resolved
    assert log.take_news() == []
    assert not one_firing(log)["silenced"]
    assert [news["silenced"] for news in log.take_news()] == [False]
    log.silences.add(None, None, 60, "", "ann", now_ns)
    log.finish()  # it fired before the silence: who was told of that is told of its end
    assert [news["state"] for news in log.take_news()] == ["resolved"]


def continued(log: AlertLog, rule: Rule | None = None) -> AlertLog:
    """A log that goes on with what another one had, by way of what the disk has."""
    kept = msgspec.json.decode(msgspec.json.encode(log.to_keep(0)), type=KeptAlerts)
    after = AlertLog([rule or lasting()])
    after.restore(kept)
    return after


def test_another_log_goes_on_where_one_ends() -> None:
    log = AlertLog([lasting()])
    one_firing(log)
    log.mark(1, "ann", acknowledged=True)
    log.silences.add("other", None, 600, "works", "ann", time.time_ns())
    before = log.since(0)
    after = continued(log)
    assert [{**a, "changed": 0} for a in after.since(0)["alerts"]] == [{**a, "changed": 0} for a in before["alerts"]]
    assert after.since(before["next"])["alerts"] == after.since(0)["alerts"]  # a reader's cursor is still good
    assert after.silences.kept == log.silences.kept != ()
    assert {k: after.counts()[k] for k in ("firing", "raised", "forgotten")} == {
        k: before[k] for k in ("firing", "raised", "forgotten")
    }
    assert after.take_news() == []


def test_an_alert_that_goes_on_over_a_restart_is_not_told_again() -> None:
    log = AlertLog([lasting()])
    fired_ns = one_firing(log)["fired_ns"]
    after = continued(log)
    take(after, udp([6.0, 6.1, 6.2, 9.0]))
    assert after.take_news() == []
    (alert,) = after.since(0)["alerts"]
    assert (alert["number"], alert["state"], alert["fired_ns"]) == (1, "firing", fired_ns)
    take(after, udp([60.0, 60.1, 65.0], source="10.0.0.2"))
    (alert,) = (a for a in after.since(0)["alerts"] if a["number"] == 1)
    assert alert["state"] == "resolved"
    assert [(news["number"], news["state"]) for news in after.take_news()] == [(1, "resolved"), (2, "firing")]


def test_an_alert_whose_key_does_not_come_back_is_resolved_in_the_end() -> None:
    log = AlertLog([lasting()])
    one_firing(log)
    after = continued(log)
    take(after, udp([100.0, 105.0], source="10.0.0.2"))
    assert after.alert(1)["state"] == "firing"  # it may yet come
    take(after, udp([118.0], source="10.0.0.2"))
    assert after.alert(1)["state"] == "resolved"
    assert [news["number"] for news in after.take_news() if news["state"] == "resolved"].count(1) == 1


def test_an_alert_is_resolved_in_the_end_where_live_packets_stay_away() -> None:
    log = AlertLog([lasting()])
    one_firing(log)
    after = continued(log)
    for second in range(20):
        after.tick(100.0 + second)
        assert after.alert(1)["state"] == ("firing" if second <= 14 else "resolved")
    assert len(after.take_news()) == 1


def test_packets_that_come_again_after_a_restart_raise_nothing_again() -> None:
    log = AlertLog([lasting()])
    take(log, udp([0.0, 0.1, 5.0, 30.0]))
    assert log.alert(1)["state"] == "resolved"
    after = continued(log)
    take(after, udp([0.0, 0.1, 5.0, 30.0]))
    assert (after.counts()["raised"], after.take_news()) == (1, [])
    take(after, udp([31.0, 32.0, 45.0]))
    assert [(news["number"], news["state"]) for news in after.take_news()] == [(2, "firing"), (2, "resolved")]


def test_packets_that_come_again_a_few_at_a_time_raise_nothing_again() -> None:
    """The newest packet is behind the end of the alert before the rules have looked at that."""
    rule = one_rule(by="[src_ip]", over="1s", having="packets >= 2")
    log = AlertLog([rule])
    batches = [udp([0.0, 0.05]), *(udp([time], source="10.0.0.2") for time in (1.5, 3.0, 5.0))]
    for batch in batches:
        take(log, batch)
    assert log.alert(1)["state"] == "resolved"
    after = continued(log, rule)
    for batch in batches:
        take(after, batch)
    assert (after.counts()["raised"], after.take_news()) == (1, [])


def test_packets_from_before_an_alert_that_goes_on_do_not_end_it() -> None:
    log = AlertLog([lasting()])
    take(log, udp([0.0, 0.1, 5.0, 30.0, 50.0, 50.1, 55.0]))
    assert [(a["number"], a["state"]) for a in log.since(0)["alerts"]] == [(1, "resolved"), (2, "firing")]
    after = continued(log)
    take(after, udp([0.0, 0.1, 5.0, 30.0, 45.0]))
    assert (after.alert(2)["state"], after.take_news()) == ("firing", [])
    take(after, udp([50.0, 50.1, 55.0, 90.0]))
    assert [(news["number"], news["state"]) for news in after.take_news()] == [(2, "resolved")]
    assert after.counts()["raised"] == 2


def test_an_alert_ends_when_another_capture_begins_after_a_restart() -> None:
    log = AlertLog([lasting()])
    one_firing(log)
    after = continued(log)
    take(after, udp([100.0 + i / 1_000 for i in range(1_100)], source="10.0.0.2"))
    take(after, udp([0.0, 0.5], source="10.0.0.3"))
    assert after.alert(1)["state"] == "resolved"


def test_a_rule_that_is_gone_after_a_restart_ends_its_alerts() -> None:
    log = AlertLog([lasting()])
    one_firing(log)
    after = continued(log, one_rule(name="another"))
    after.replace([one_rule(name="another")])
    assert after.alert(1)["state"] == "resolved"


def test_only_so_many_are_kept_over_restarts_and_what_was_cleared_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aishark_panel.alerts.log.MAX_ALERTS", 10)
    log = AlertLog([one_rule(by="[dst_port]")])
    take(log, scan("10.0.0.1", "10.0.0.2", 8))
    log.finish()
    kept = log.to_keep(0)
    cursor = kept.changes
    take(log, scan("10.0.0.1", "10.0.0.2", 8))
    log.finish()
    kept.add(log.to_keep(cursor))
    assert [alert["number"] for alert in kept.alerts] == list(range(7, 17))
    assert (kept.raised, kept.forgotten, kept.numbers) == (16, 6, list(range(7, 17)))
    log.clear()
    kept.add(log.to_keep(kept.changes))
    assert (kept.alerts, kept.numbers) == ([], [])


def test_rules_are_replaced_while_others_go_on() -> None:
    stays, goes = lasting(), one_rule(name="goes", by="[src_ip]", over="10s", having="packets >= 2")
    log = AlertLog([stays, goes])
    take(log, udp([0.0, 0.1, 5.0]))
    assert sorted((news["rule"], news["state"]) for news in log.take_news()) == [
        ("goes", "firing"),
        ("tested", "firing"),
    ]
    log.replace([lasting(), one_rule(name="comes", by="[src_ip]", over="1s", having="packets >= 1")])
    assert [(news["rule"], news["state"]) for news in log.take_news()] == [("goes", "resolved")]
    take(log, udp([6.0, 9.0]))
    assert {news["rule"] for news in log.take_news()} == {"comes"}
    assert log.fired == {("tested", "warning"): 1, ("comes", "warning"): 1}


def test_evidence_is_asked_for_once_and_only_so_much_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aishark_panel.alerts.log.MAX_EVIDENCE_WAITING", 3)
    log = AlertLog([one_rule(by="[dst_port]", over="10s")])
    take(log, scan("10.0.0.1", "10.0.0.2", 5))
    take(log, udp([20.0]))
    states = [a["evidence"]["state"] for a in log.since(0)["alerts"] if a["evidence"]]
    assert (states, log.evidence_skipped) == (["waiting"] * 3 + ["none"] * 2, 2)
    wanted = log.next_evidence()
    assert wanted is not None
    assert wanted[0]["number"] == 1
    cursor = log.since(0)["next"]
    log.note_evidence(1, evidence_state("saved", packets=7, size_bytes=700, complete=True))
    (told,) = log.since(cursor)["alerts"]
    assert told["evidence"] == {"state": "saved", "packets": 7, "bytes": 700, "complete": True, "reason": ""}
    again = continued(log).next_evidence()
    assert again is not None
    assert again[0]["number"] == 2  # what waited still waits
    log.clear()
    assert log.next_evidence() is None


def feed(log: AlertLog, times: Sequence[float], step: int = 2_000) -> None:
    for start in range(0, len(times), step):
        packets = block(udp(list(times[start : start + step])))
        log.take(packets, 0, packets.length, INTERFACES)
        log.settle()


def after_restart(log: AlertLog, rule: Rule) -> AlertLog:
    new = AlertLog([rule])
    new.restore(msgspec.json.decode(msgspec.json.encode(log.to_keep(0)), type=KeptAlerts))
    new.take_news()
    return new


def test_what_goes_on_behind_an_alert_that_an_earlier_log_resolved_ahead_of_time_fires() -> None:
    """The end of a capture resolves for as long as `keep_firing_for` would have it fire."""
    rule = one_rule(by="[src_ip]", over="1s", having="packets >= 5", keep_firing_for="5min")
    log = AlertLog([rule])
    feed(log, [i / 10 for i in range(100)])
    log.finish()
    new = after_restart(log, rule)
    feed(new, [60 + i / 10 for i in range(6_000)])
    assert [(news["number"], news["state"]) for news in new.take_news()] == [(2, "firing")]


def test_an_alert_goes_on_after_a_restart_although_its_packets_come_again_from_before_it_fired() -> None:
    rule = one_rule(by="[src_ip]", over="1s", having="packets >= 5", rearm="30s")
    first, second = [i / 10 for i in range(20)], [10 + i / 10 for i in range(3_000)]
    log = AlertLog([rule])
    feed(log, first)
    feed(log, [time for time in second if time < 40])
    new = after_restart(log, rule)
    feed(new, second, 50)
    assert [(alert["number"], alert["state"]) for alert in new.since(0)["alerts"]] == [(1, "resolved"), (2, "firing")]
    assert new.take_news() == []
