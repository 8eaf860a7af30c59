"""The rule editor: form and YAML of one rule, what is wrong with it while it is typed, and what it would have found."""

from collections.abc import Callable
from typing import Any

import pytest

from aishark_panel.alerts.load import BUILTIN, read_rules
from aishark_panel.views.backtest_lines import MAX_LANES, MAX_LISTED, backtest_lines
from aishark_panel.views.feed import Feed
from aishark_panel.views.rule_completion import place_in_by, place_in_having
from aishark_panel.views.rule_editor import RuleEditor
from aishark_panel.views.rule_form import (
    Fault,
    content_of,
    content_of_yaml,
    faults_of,
    form_of,
    words_of,
    yaml_of,
    yaml_place,
)
from tests.views.backtests import backtest_answer
from tests.views.hub import SECOND_NS, START_NS, MemoryHub, wait
from tests.views.test_alerts import alert

RULE: dict[str, Any] = {
    "name": "resets",
    "where": "tcp.flags.reset == 1",
    "by": ["src_ip"],
    "over": "10s",
    "having": "packets >= 3",
    "severity": "warning",
    "labels": {"team": "net"},
    "annotations": {"summary": "{src_ip} sent {packets} resets", "ticket": "NET-7"},
}
Tell = Callable[..., dict[str, Any]]


@pytest.fixture
def editor(feed: Feed) -> RuleEditor:
    wait(feed.pull())
    return RuleEditor(feed)


@pytest.fixture
def tell(editor: RuleEditor, answers: list[dict[str, Any]]) -> Tell:
    """Sends a message as the browser does; what was answered last."""

    def told(**message: Any) -> dict[str, Any]:
        wait(editor.root._handle_msg(message))
        editor.paint()
        return answers[-1] if answers else {}

    return told


def check(tell: Tell, draft: dict[str, Any], field: str = "", cursor: int = 0) -> dict[str, Any]:
    return tell(check=draft, field=field, cursor=cursor, turn=1)


@pytest.mark.parametrize("content", [RULE, *(dict(rule.content) for rule in read_rules(BUILTIN))])
def test_form_and_yaml_are_the_same_rule(content: dict[str, Any]) -> None:
    by_form = content_of(form_of(content), content)
    condition = {"having": content["having"].strip()} if "having" in content else {}
    assert by_form == {"severity": "warning", **content, **condition}
    assert content_of_yaml(yaml_of(content)) == content
    assert faults_of(by_form) == []


def test_what_the_form_does_not_show_stays_and_what_is_emptied_goes() -> None:
    form = {**form_of(RULE), "by": "src_ip dst_ip,", "having": " ", "summary": "", "runbook": "https://wiki.test/x"}
    content = content_of(form, RULE)
    assert (content["labels"], content["annotations"]) == ({"team": "net"}, {"ticket": "NET-7"})
    assert (content["by"], content["runbook"], "having" in content) == (
        ["src_ip", "dst_ip"],
        "https://wiki.test/x",
        False,
    )


@pytest.mark.parametrize(
    ("change", "field", "marked"),
    [
        ({"where": "tcp.flags.rst == 1"}, "where", "tcp"),
        ({"having": "packets > 1 and nunique(dst_prt) > 2"}, "having", "dst_prt"),
        ({"having": "packets"}, "having", "packets"),
        ({"by": ["src_ip", "dst_prt"]}, "by", "dst_prt"),
        ({"over": "10"}, "over", None),
        ({"name": "1st"}, "name", None),
        ({"annotations": {"summary": "{src_pi}"}}, "summary", None),
        ({"severity": "loud"}, "severity", None),
        ({"colour": "red"}, "rule", None),
    ],
)
def test_a_mistake_is_said_at_its_field_and_character(change: dict[str, Any], field: str, marked: str | None) -> None:
    (fault,) = faults_of({**RULE, **change})
    assert fault.field == field
    assert (fault.position is None) == (marked is None)
    if fault.position is not None and marked is not None:
        assert fault.text[fault.position :].startswith(marked)
        text = yaml_of({**RULE, **change})
        placed = yaml_place(text, fault)
        assert placed.position is not None
        if field != "by":
            assert text[placed.position :].startswith(marked)


def test_all_mistakes_are_said_at_once() -> None:
    faults = faults_of({**RULE, "name": "", "where": "tcp.prt == 1", "having": "x > 1", "by": ["y"]})
    assert [fault.field for fault in faults] == ["name", "where", "having", "by"]
    assert faults[1].fix == "tcp.port == 1"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rules: [", "not YAML in line 1"),
        ("rules: []", "One rule is edited at a time"),
        ("rules:\n- {name: a}\n- {name: b}", "One rule is edited at a time"),
        ("- 1", "keys and values"),
        ("1: 2", "keys and values"),
        ("", "keys and values"),
    ],
)
def test_yaml_that_is_no_rule_is_refused_in_words(text: str, said: str) -> None:
    fault = content_of_yaml(text)
    assert isinstance(fault, Fault)
    assert said in fault.message
    assert content_of_yaml("name: a\nwhere: dns") == {"name": "a", "where": "dns"}


def test_templates_are_offered_their_words() -> None:
    assert words_of(RULE) == ["src_ip", "packets", "bytes", "packets_per_s", "bits_per_s"]
    assert words_of({**RULE, "where": "tcp.prt"}) == []


@pytest.mark.parametrize(
    ("text", "word", "offered"),
    [
        ("", "", ["packets", "bytes"]),
        ("packets >= 5 and nun", "nun", ["nunique("]),
        ("nunique(dst_po", "dst_po", ["dst_port"]),
        ("max(orig_l", "orig_l", ["orig_len"]),
        ("packets ", "", [">=", ">"]),
        ("packets >= 5 ", "", [">=", ">"]),
        ("bytes > 5 * pack", "pack", ["packets", "packets_per_s"]),
        ("count('tcp.flags.sy", "tcp.flags.sy", ["tcp.flags.syn"]),
        ("count('protocol == ", "", ['"?"']),
        ("packets >= 1", "1", []),
        ("'", "", []),
    ],
)
def test_a_condition_is_completed(text: str, word: str, offered: list[str]) -> None:
    place = place_in_having(text, len(text))
    assert text[place.start : place.end] == word
    assert [choice.text for choice in place.choices][: len(offered)] == offered
    assert bool(place.choices) == bool(offered)


def test_text_columns_have_no_mean_and_columns_are_offered_once() -> None:
    assert not any(choice.text == "dns_query" for choice in place_in_having("mean(dns_q", 10).choices)
    assert any(choice.text == "dns_query" for choice in place_in_having("nunique(dns_q", 13).choices)
    names = [choice.text for choice in place_in_by("src_ip, src", 11).choices]
    assert "src_port" in names
    assert "src_ip" not in names


def test_nothing_is_shown_until_a_rule_is_edited(hub: MemoryHub, editor: RuleEditor, tell: Tell) -> None:
    editor.paint()
    assert editor.root.drawn == {"serial": 0, "editing": False}
    wait(editor.feed.filter("dns"))
    wait(editor.edit(None))
    editor.paint()
    assert (editor.root.drawn["title"], editor.root.drawn["form"]["where"]) == ("New rule", "dns")
    tell(close=True)
    assert editor.root.drawn == {"serial": 1, "editing": False}


def test_what_is_typed_is_checked_and_what_is_unfinished_is_not_wrong(editor: RuleEditor, tell: Tell) -> None:
    wait(editor.edit(None))
    typed = {**form_of(RULE), "where": "tcp.flags.re"}
    assert [f["unfinished"] for f in check(tell, {"form": typed}, "where", 12)["faults"]] == [True]
    told = check(tell, {"form": typed}, "summary")
    assert [(f["field"], f["unfinished"]) for f in told["faults"]] == [("where", False)]
    assert not told["right"]
    told = check(tell, {"form": form_of(RULE)})
    assert (told["right"], told["checked"], told["save"], told["words"][0]) == (True, 1, "Save", "src_ip")
    told = check(tell, {"yaml": told["yaml"].replace("packets >= 3", "packets >= 30")})
    assert told["form"]["having"] == "packets >= 30"
    told = check(tell, {"yaml": yaml_of(RULE).replace("packets >=", "packet >=")})
    (fault,) = told["faults"]
    assert fault["text"][fault["position"] :].startswith("packet >=")


def test_boxes_are_completed_with_names_and_the_values_of_the_session(
    hub: MemoryHub, editor: RuleEditor, tell: Tell
) -> None:
    hub.add(["dns"])
    wait(editor.edit(None))
    told = tell(look="where", edit="src_ip == ", cursor=10, turn=3)
    assert (told["look"], told["turn"], told["choices"][0]["text"]) == ("where", 3, "10.0.0.1")
    assert tell(look="having", edit="pack", cursor=4, turn=4)["choices"][0]["text"] == "packets"
    assert tell(look="by", edit="dst_p", cursor=99, turn=5)["choices"][0]["text"] == "dst_port"


def test_a_rule_is_saved_renamed_and_watches_at_once(hub: MemoryHub, editor: RuleEditor, tell: Tell) -> None:
    wait(editor.edit(None))
    tell(save={"form": {**form_of(RULE), "having": "packet >= 3"}})
    assert "packet" in editor.root.drawn["answer"]["text"]
    tell(save={"form": form_of(RULE)})
    assert not editor.root.drawn["editing"]
    assert [rule["name"] for rule in editor.feed.rules] == ["many_questions", "resets"]
    (saved,) = (rule for rule in wait(hub.rules()) if rule["name"] == "resets")
    wait(editor.edit(saved))
    assert check(tell, {"form": {**form_of(RULE), "name": "rst"}})["note"] == "resets is renamed."
    tell(save={"form": {**form_of(RULE), "name": "rst"}})
    assert [rule["name"] for rule in wait(hub.rules())] == ["many_questions", "rst"]


def test_who_saves_is_told_whose_place_the_rule_takes(hub: MemoryHub, editor: RuleEditor, tell: Tell) -> None:
    (given,) = wait(hub.rules())
    wait(editor.edit(given))
    assert "in place of the one that came with the hub" in check(tell, {"yaml": given["yaml"]})["note"]
    assert "many_questions stays as it is" in check(tell, {"form": form_of(RULE)})["note"]
    wait(editor.edit(None))
    told = check(tell, {"form": {**form_of(RULE), "name": "many_questions"}})
    assert (told["save"], "is replaced" in told["note"]) == ("Replace many_questions", True)


def test_a_rule_is_tried_on_the_past_before_it_is_saved(hub: MemoryHub, editor: RuleEditor, tell: Tell) -> None:
    hub.backtests = [
        backtest_answer(state="running", done=3, total=10, packets=30),
        backtest_answer(
            rules=[{"rule": "new_rule", "alerts": 0, "keys": 0, "noise": "quiet", "problem": ""}], packets=90
        ),
    ]
    wait(editor.edit(None))
    unnamed = {**form_of(RULE), "name": ""}
    tell(**{"try": {"form": unnamed}, "over": "ring"})
    tried_so_far = editor.root.drawn["tried"]
    assert (tried_so_far["state"], tried_so_far["done"], tried_so_far["verdict"]) == ("running", 0.3, "")
    assert tried_so_far["progress"] == "30 packets looked at"
    yaml, over = hub.tried[0]
    tried = content_of_yaml(yaml or "")
    assert isinstance(tried, dict)
    assert (tried["name"], tried["where"], over) == ("new_rule", RULE["where"], "ring")
    wait(editor.refresh())
    assert editor.root.drawn["tried"]["verdict"].startswith("It would not have fired: 90 packets")
    asked = len(hub.backtests)
    wait(editor.refresh())
    assert (len(hub.backtests), hub.cancelled) == (asked, [])


@pytest.mark.parametrize(
    "message", [{"cancel": True}, {"close": True}, {"try": {"form": form_of(RULE)}, "over": "ring"}]
)
def test_a_backtest_ends_with_what_it_was_for(
    hub: MemoryHub, editor: RuleEditor, tell: Tell, message: dict[str, Any]
) -> None:
    hub.backtests = [backtest_answer(state="running", packets=30)]
    wait(editor.edit(None))
    tell(**{"try": {"form": form_of(RULE)}, "over": "ring"})
    tell(**message)
    assert hub.cancelled == ["b0"]
    if "cancel" in message:
        assert editor.root.drawn["tried"]["state"] == "cancelled"


def test_why_a_rule_cannot_be_tried_is_said(hub: MemoryHub, editor: RuleEditor, tell: Tell) -> None:
    wait(editor.edit(None))
    tell(**{"try": {"form": form_of(RULE)}, "over": "journal"})
    assert editor.root.drawn["tried"]["problem"] == "this hub keeps no journal"
    tell(**{"try": {"yaml": "["}, "over": "ring"})
    assert "not YAML" in editor.root.drawn["answer"]["text"]
    assert hub.tried == []


def test_a_backtest_is_drawn_by_key_with_its_noise() -> None:
    found = [
        alert(
            number,
            state="resolved",
            key={"src_ip": f"10.0.0.{number % 9}"},
            fired_ns=START_NS + number * SECOND_NS,
            resolved_ns=START_NS + (number + 5) * SECOND_NS,
        )
        for number in range(60)
    ]
    noisy = {
        "rule": "x",
        "alerts": 60,
        "keys": 9,
        "per_hour": 2160.0,
        "share_firing": 0.65,
        "noise": "noisy",
        "problem": "",
    }
    answer = backtest_answer(
        packets=12_345, rules=[noisy], alerts=found, more=4, first_ts=START_NS, last_ts=START_NS + 100 * SECOND_NS
    )
    drawn = backtest_lines(answer)
    assert drawn["verdict"] == (
        "It would have fired 60 times for 9 keys: 12,345 packets in 1 min 40 s. That is 2,160 an hour,"
        " and something was firing 65 % of the time."
    )
    assert drawn["advice"].startswith("Noisy")
    assert [lane["alerts"] for lane in drawn["lanes"]] == [7] * MAX_LANES + [18]
    assert drawn["lanes"][-1]["key"] == "3 other keys"
    first = drawn["lanes"][0]["bars"][0]
    assert (first["at"], first["width"], first["severity"]) == (0.0, 5.0, "warning")
    assert all(0 <= bar["at"] <= bar["at"] + bar["width"] <= 100.01 for lane in drawn["lanes"] for bar in lane["bars"])
    assert (len(drawn["alerts"]), drawn["more"]) == (MAX_LISTED, 60 - MAX_LISTED + 4)
    assert len(drawn["lanes"][-1]["bars"]) < 18, "alerts on top of each other are one bar"
