"""The Alerts tab: what is listed, in which order, and what becomes of an alert, a silence, a rule."""

from collections.abc import Callable
from typing import Any

import pytest

from aishark_panel.alerts.log import evidence_state
from aishark_panel.errors import ForbiddenError
from aishark_panel.views.alert_lines import counts, lasting, pins, shown_in
from aishark_panel.views.alerts import MAX_SHOWN, Alerts
from aishark_panel.views.columns import Span
from aishark_panel.views.feed import Feed
from aishark_panel.views.page import Dashboard
from aishark_panel.views.tabs import Tabs
from tests.views.hub import SECOND_NS, START_NS, MemoryHub, wait

MS_NS = 1_000_000


def raise_alert(hub: MemoryHub, start_ns: int = START_NS, *, resolve: bool = False) -> None:
    """Six questions at once, and enough packet time for the rule to look at them."""
    hub.add(["dns"] * 6, start_ns, MS_NS)
    hub.add(["tcp"], start_ns + (20 if resolve else 1) * SECOND_NS + SECOND_NS // 2)


def alert(number: int, **changes: Any) -> dict[str, Any]:
    """An alert as the hub tells it, firing since its number in seconds."""
    told = {
        "number": number,
        "rule": "scan",
        "description": "",
        "severity": "warning",
        "state": "firing",
        "key": {"src_ip": "10.0.0.1"},
        "values": {"packets": 6.0},
        "window_start_ns": START_NS,
        "fired_ns": START_NS + number * SECOND_NS,
        "resolved_ns": 0,
        "annotations": {},
        "labels": {},
        "runbook": "",
        "filter": "dns",
        "changed": number,
        "acknowledged": None,
        "archived": False,
        "silenced": False,
        "evidence": None,
    }
    return {**told, **changes}


@pytest.fixture
def view(hub: MemoryHub, feed: Feed) -> Alerts:
    """The tab alone, over one rule that fires when somebody asks for it."""
    return Alerts(feed)


@pytest.fixture
def tell(view: Alerts) -> Callable[..., dict[str, Any]]:
    """Sends a message as the browser does; what is drawn then."""

    def told(**message: Any) -> dict[str, Any]:
        wait(view.root._handle_msg(message))
        view.paint()
        return view.root.drawn

    return told


def test_an_alert_is_listed_opened_and_selects_its_packets(hub: MemoryHub, feed: Feed) -> None:
    dashboard = Dashboard(feed)
    view = next(view for view in dashboard.views if isinstance(view, Alerts))
    tabs = next(view for view in dashboard.views if isinstance(view, Tabs))
    raise_alert(hub)
    wait(view.refresh())
    wait(tabs.choose("Alerts"))
    (line,) = view.root.drawn["alerts"]
    assert (line["rule"], line["severity"], line["state"]) == ("many_questions", "warning", "firing")
    assert line["headline"].startswith("10.0.0.1 asked ")
    assert line["facts"][0] == ["src_ip", "10.0.0.1"]
    assert not view.root.drawn["detail"]
    wait(view.root._handle_msg({"open": line["number"]}))
    view.paint()
    detail: Any = view.root.drawn["detail"]
    assert (detail["key"], detail["explanation"]) == ([["src_ip", "10.0.0.1"]], "Somebody asks a lot.")
    assert [name for name, _ in detail["moments"]] == ["window began", "fired"]
    wait(view.root._handle_msg({"show": line["number"]}))
    assert (feed.where, feed.extent.count, tabs.chosen) == ("(dns) and src_ip == '10.0.0.1'", 6, "Packets")
    assert feed.range is not None
    assert feed.range[0] <= START_NS < feed.range[1]


def test_the_value_of_a_key_narrows_the_display_filter(hub: MemoryHub, feed: Feed) -> None:
    heard: list[tuple[str, bool]] = []

    async def add(condition: str, exclude: bool) -> None:
        heard.append((condition, exclude))

    view = Alerts(feed, add)
    raise_alert(hub)
    wait(view.refresh())
    wait(view.root._handle_msg({"filter": 1, "column": "src_ip", "exclude": True}))
    wait(view.root._handle_msg({"filter": 1, "column": "1 or dst_ip", "exclude": True}))
    wait(view.root._handle_msg({"filter": 999, "column": "src_ip", "exclude": True}))
    assert heard == [("src_ip == '10.0.0.1'", True)]


def test_firing_come_first_then_pending_then_resolved_and_acknowledged_ones_last_among_those_that_fire() -> None:
    alerts = [
        alert(1, state="resolved", resolved_ns=1),
        alert(2, acknowledged={"by": "", "at_ns": 1}),
        alert(3),
        alert(4, state="pending", fired_ns=0),
        alert(5),
        alert(6, state="resolved", fired_ns=0),
        alert(7, archived=True),
        alert(8, rule="flood"),
    ]
    assert [each["number"] for each in shown_in("all", alerts)] == [8, 5, 3, 2, 4, 1]
    assert [each["number"] for each in shown_in("firing", alerts)] == [8, 5, 3, 2]
    assert [each["number"] for each in shown_in("archived", alerts)] == [7]
    assert [each["number"] for each in shown_in("all", alerts, "flood")] == [8]
    assert counts(alerts) == {"all": 6, "firing": 4, "pending": 1, "resolved": 1}


def test_the_list_is_narrowed_and_says_what_to_do_when_it_is_empty(
    hub: MemoryHub, view: Alerts, tell: Callable[..., dict[str, Any]]
) -> None:
    raise_alert(hub)
    raise_alert(hub, START_NS + 60 * SECOND_NS, resolve=True)
    wait(view.refresh())
    assert [line["state"] for line in tell(states="resolved")["alerts"]] == ["resolved", "resolved"]
    assert tell(states="firing")["empty"] == {"text": "No firing alert in this session.", "do": "all"}
    assert tell(states="no such state")["state"] == "firing"
    assert [line["state"] for line in tell(states="all")["alerts"]] == ["resolved", "resolved"]
    assert tell(of_rule="other")["empty"]["text"] == "No alert of other in this session."


def test_a_session_without_alerts_says_why(hub: MemoryHub, feed: Feed) -> None:
    async def edit(rule: dict[str, Any] | None) -> None: ...

    view = Alerts(feed, on_edit=edit)
    hub.add(["tcp"])
    wait(view.refresh())
    assert view.root.drawn["empty"]["text"].startswith("Nothing to report: 1 rule watches and has found nothing.")
    assert view.root.drawn["empty"]["do"] == "new"
    hub.connected, hub.reason = False, "No hub answers."
    wait(view.refresh())
    assert view.root.drawn["empty"] == {"text": "No hub answers.", "do": ""}


def test_an_alert_is_acknowledged_and_archived(
    hub: MemoryHub, view: Alerts, tell: Callable[..., dict[str, Any]]
) -> None:
    raise_alert(hub)
    wait(view.refresh())
    tabs = Tabs(view.feed, {"Alerts": []})
    wait(tabs.refresh())
    assert tabs.root.drawn["tabs"][0] == {"name": "Alerts", "count": 1, "urgent": True}
    assert tell(acknowledge=1, on=True)["alerts"][0]["acknowledged"]
    assert tell(open=1)["detail"]["seen"].startswith("ann, ")
    tabs.paint()
    assert tabs.root.drawn["tabs"][0] == {"name": "Alerts", "count": 1, "urgent": False}
    assert not tell(acknowledge=1, on=False)["alerts"][0]["acknowledged"]
    drawn = tell(archive=1, on=True)
    assert (drawn["alerts"], drawn["open"]) == ([], 0)
    assert [line["archived"] for line in tell(states="archived")["alerts"]] == [True]
    assert tell(archive=1, on=False)["alerts"] == []
    assert [line["number"] for line in tell(states="all")["alerts"]] == [1]


def test_a_key_or_a_rule_is_silenced_for_a_while(
    hub: MemoryHub, view: Alerts, tell: Callable[..., dict[str, Any]]
) -> None:
    raise_alert(hub)
    wait(view.refresh())
    tell(silence=1, key=True, for_s=900, reason=" maintenance ")
    lines = tell(silence=1, key=False, for_s=86_400, reason="")["silences"]
    assert [(line["what"], line["key"], line["reason"]) for line in lines] == [
        ("many_questions", "src_ip 10.0.0.1", "maintenance"),
        ("many_questions", "", ""),
    ]
    assert [line["what"] for line in tell(unsilence=lines[0]["id"])["silences"]] == ["many_questions"]
    assert "may be over" in tell(unsilence=lines[0]["id"])["answer"]["text"]
    assert "lasts from 1 second" in tell(silence=1, key=True, for_s=0, reason="")["answer"]["text"]


def test_a_rule_of_the_hub_is_switched_off_by_one_of_the_persons_own(hub: MemoryHub, feed: Feed) -> None:
    edited: list[dict[str, Any] | None] = []

    async def edit(rule: dict[str, Any] | None) -> None:
        edited.append(rule)

    view = Alerts(feed, on_edit=edit)
    wait(view.refresh())
    (line,) = view.root.drawn["rules"]
    assert (line["source"], line["own"], line["on"], line["here"]) == ("from a file", False, True, True)
    raise_alert(hub)
    wait(view.root._handle_msg({"rule": "many_questions", "on": False}))
    view.paint()
    (line,) = view.root.drawn["rules"]
    assert (line["source"], line["own"], line["on"]) == ("yours, in place of another", True, False)
    assert view.root.drawn["counts"]["firing"] == 0
    wait(view.root._handle_msg({"rule": "many_questions", "on": True}))
    view.paint()
    assert (view.root.drawn["rules"][0]["own"], view.root.drawn["rules"][0]["on"]) == (True, True)
    wait(view.root._handle_msg({"edit": "many_questions"}))
    wait(view.root._handle_msg({"edit": "no such rule"}))
    wait(view.root._handle_msg({"new": True}))
    assert [each and each["name"] for each in edited] == ["many_questions", None]
    wait(view.root._handle_msg({"delete": "many_questions"}))
    view.paint()
    assert view.root.drawn["rules"][0]["source"] == "from a file"


def test_a_rule_that_only_switched_another_off_gives_way_to_it(hub: MemoryHub, feed: Feed) -> None:
    async def edit(rule: dict[str, Any] | None) -> None: ...

    view = Alerts(feed, on_edit=edit)
    wait(hub.save_rule({"name": "many_questions", "enabled": False}))
    wait(view.refresh())
    assert not view.root.drawn["rules"][0]["on"]
    wait(view.root._handle_msg({"rule": "many_questions", "on": True}))
    (rule,) = wait(hub.rules())
    assert (rule["source"], rule["content"]["having"]) == ("file", "packets >= 5")


def test_who_may_only_look_changes_nothing_of_the_rules(hub: MemoryHub, feed: Feed) -> None:
    async def edit(rule: dict[str, Any] | None) -> None: ...

    feed.rights, hub.may = ["view"], ["view"]
    view = Alerts(feed, on_edit=edit)
    wait(view.refresh())
    assert [view.root.drawn[name] for name in ("acts", "edits", "exports")] == [False, False, False]
    wait(view.root._handle_msg({"rule": "many_questions", "on": False}))
    assert [rule["source"] for rule in wait(hub.rules())] == ["file"]


def test_what_the_hub_refuses_is_said(
    hub: MemoryHub, view: Alerts, tell: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_args: object, **_more: object) -> None:
        raise ForbiddenError("this token may only view")

    raise_alert(hub)
    wait(view.refresh())
    monkeypatch.setattr(hub, "set_alert", refuse)
    assert tell(acknowledge=1, on=True)["answer"] == {"kind": "bad", "text": "this token may only view"}


def test_evidence_is_fetched_with_a_ticket(
    hub: MemoryHub, view: Alerts, tell: Callable[..., dict[str, Any]], answers: list[dict[str, Any]]
) -> None:
    raise_alert(hub)
    hub.session.alerts.note_evidence(1, evidence_state("saved", packets=6, size_bytes=400))
    wait(view.refresh())
    detail = tell(open=1)["detail"]
    assert (detail["evidence"], detail["evidence_text"]) == ("saved", "6 packets, 400 bytes; not all of them.")
    tell(evidence=1)
    assert answers[-1]["download"].endswith("evidence-1")


def test_many_alerts_are_cut_and_counted(view: Alerts) -> None:
    view.feed.alerts = {number: alert(number) for number in range(1, MAX_SHOWN + 31)}
    view.paint()
    assert (len(view.root.drawn["alerts"]), view.root.drawn["hidden"]) == (MAX_SHOWN, 30)


def test_pins_tell_severity_by_shape_and_are_dimmer_once_somebody_has_seen_to_them() -> None:
    alerts = [
        alert(1),
        alert(2, severity="critical", acknowledged={"by": "", "at_ns": 1}),
        alert(3, severity="info", silenced=True),
        alert(4, archived=True),
        alert(5, state="resolved", resolved_ns=START_NS + 9 * SECOND_NS),
    ]
    found = pins(alerts, Span(resolution_ms=1000, first=START_NS // SECOND_NS, end=START_NS // SECOND_NS + 60, step=1))
    assert found.number == [1, 2, 3, 5]
    assert found.shape == ["inverted_triangle", "diamond", "circle", "inverted_triangle"]
    assert found.alpha == [1.0, 0.35, 0.35, 1.0]
    assert [
        text.endswith(note) for text, note in zip(found.text, ("", "(acknowledged)", "(silenced)", ""), strict=True)
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.44, "0.4 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (200, "3 min 20 s"),
        (7_500, "2 h 5 min"),
        (-5, "0 s"),
    ],
)
def test_how_long_something_lasts(seconds: float, text: str) -> None:
    assert lasting(round(seconds * SECOND_NS)) == text
