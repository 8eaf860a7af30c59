"""The tab of sessions: what it lists, what is asked of the hub, and what who may do less does not see."""

from typing import Any

import pytest

from aishark_panel.views.feed import Feed
from aishark_panel.views.sessions import Sessions
from tests.views.hub import SECOND_NS, START_NS, MemoryHub, wait
from tests.views.places import agent_line


@pytest.fixture
def sessions(hub: MemoryHub, feed: Feed) -> Sessions:
    hub.add(["tcp", "dns"])
    view = Sessions(feed)
    wait(view.refresh())
    return view


def press(view: Sessions, **message: Any) -> dict[str, Any]:
    wait(view.root._handle_msg(message))
    return dict(view.root.drawn)


def test_a_session_is_told_in_a_line(sessions: Sessions) -> None:
    (line,) = sessions.root.drawn["sessions"]
    assert (line["name"], line["state"], line["packets"], line["kept"]) == ("lab", "capturing", 2, 2)
    assert (line["agents"], line["started"]) == (["edge"], "2023-11-14 22:13:20 UTC")
    assert line["kept_bytes"] > 0


def test_a_session_stops_starts_is_cleared_and_deleted(hub: MemoryHub, sessions: Sessions) -> None:
    assert press(sessions, stop="5e55")["sessions"][0]["answer"]["text"] == "Stopped. What came so far is kept."
    assert sessions.root.drawn["sessions"][0]["state"] == "stopped"
    press(sessions, start="5e55")
    assert hub.session.condition.wanted
    assert press(sessions, clear="5e55")["sessions"][0]["kept"] == 0
    press(sessions, delete="5e55")
    assert hub.deleted == ["5e55"]


def test_a_new_session_gets_its_agents_and_their_filter(hub: MemoryHub, feed: Feed, sessions: Sessions) -> None:
    hub.agent_lines = [agent_line(), agent_line(id="a2", name="gone", state="offline")]
    assert [agent["name"] for agent in press(sessions, making=True)["agents"]] == ["edge"]
    said = press(sessions, **{"try": "a1", "filter": "port 53"})["answer"]
    assert "25" in said["text"]  # 2 of 8 packets
    press(sessions, create=" dns only ", agents=["a1"], filter="port 53", profile="")
    assert hub.created == ["dns only"]
    assert hub.orders[-1] == ("capturing", {"session": "new0", "profile": "", "filter": "port 53"})
    assert (feed.session, sessions.root.drawn["making"]) == ("new0", False)
    press(sessions, create="by profile", agents=["a1"], filter="", profile="web")
    assert hub.orders[-1] == ("capturing", {"session": "new1", "profile": "web", "filter": None})


def test_an_agent_that_refuses_leaves_a_session_and_its_words(hub: MemoryHub, sessions: Sessions) -> None:
    hub.agent_lines = [agent_line()]
    hub.refusal = "Agent edge: syntax error in filter"
    state = press(sessions, create="wrong", agents=["a1"], filter="prot 53", profile="")
    made = next(line for line in state["sessions"] if line["name"] == "wrong")
    assert (made["answer"]["kind"], made["answer"]["text"]) == ("bad", "Agent edge: syntax error in filter")


def test_a_recording_is_started_with_its_options_stopped_and_fetched(
    hub: MemoryHub, sessions: Sessions, answers: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aishark_panel.views.exports.at_page", lambda: True)
    press(sessions, open="5e55")
    options = {"rotate_bytes": 2**20, "rotate_s": 60, "max_files": 3, "folder": "/etc", "rotate_packets": "many"}
    state = press(sessions, record="parquet", where="dns", oldest=True, options=options)
    (recording,) = state["recordings"]
    assert (recording["format"], recording["state"]) == ("parquet", "recording")
    asked = {name: hub.recorded[0].get(name) for name in ("where", "start", "rotate_bytes", "rotate_s", "max_files")}
    assert asked == {"where": "dns", "start": "oldest", "rotate_bytes": 2**20, "rotate_s": 60.0, "max_files": 3}
    assert hub.recorded[0]["folder"] == "/captures"
    assert press(sessions, record_stop="r0")["recordings"][0]["state"] == "stopped"
    press(sessions, fetch="lab-0001.parquet", recording="r0")
    assert answers == [{"download": "files/r0-lab-0001.parquet"}]


def test_a_chosen_time_is_no_filter_for_what_is_still_to_come(feed: Feed, sessions: Sessions) -> None:
    wait(feed.filter("dns"))
    wait(feed.choose_range((START_NS, START_NS + SECOND_NS)))
    assert press(sessions, open="5e55")["filter"] == "dns"


def test_a_session_is_shared_with_people_and_by_links(hub: MemoryHub, sessions: Sessions) -> None:
    press(sessions, open="5e55")
    assert press(sessions, share=" ann ", export=True)["shares"] == [
        {"person": "ann", "capabilities": ["view", "export"]}
    ]
    assert press(sessions, share="", export=False)["sessions"][0]["answer"]["text"] == "a person has a name"
    assert press(sessions, unshare="ann")["shares"] == []
    state = press(sessions, link=8)
    assert state["made"] == {"id": "l0", "token": "secret of the link", "until": "2023-11-15 06:13:20 UTC"}
    assert state["links"][0]["until"] == "2023-11-15 06:13:20 UTC"
    assert press(sessions, unlink="l0")["made"] is None
    press(sessions, link=8)
    assert press(sessions, open="")["made"] is None  # a secret is shown once


def test_who_may_only_look_is_not_asked_for_more(hub: MemoryHub, feed: Feed) -> None:
    hub.may, feed.rights = ["view"], ["view"]
    hub.shared = {"bob": ["view"]}
    view = Sessions(feed)
    wait(view.refresh())
    state = press(view, open="5e55")
    assert (state["makes"], state["uploads"], state["shares"], state["links"]) == (False, False, [], [])
    assert state["sessions"][0]["may"] == ["view"]


def test_what_is_closed_is_not_asked_for(hub: MemoryHub, sessions: Sessions) -> None:
    hub.recorded = [{"never": "read"}]
    wait(sessions.refresh())
    assert sessions.root.drawn["recordings"] == []


def test_a_session_that_is_gone_is_open_no_more(hub: MemoryHub, sessions: Sessions) -> None:
    hub.created = ["short"]
    wait(sessions.refresh())
    press(sessions, open="new0")
    hub.created = []
    wait(sessions.refresh())
    assert sessions.root.drawn["open"] == ""


def test_without_a_hub_it_says_so(hub: MemoryHub, sessions: Sessions) -> None:
    hub.connected, hub.reason = False, "No hub answers."
    wait(sessions.refresh())
    assert sessions.root.drawn["problem"] == "No hub answers."
