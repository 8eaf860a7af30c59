"""Exports that a page begins: the ticket that goes to the browser, how far they are, and how they end."""

from typing import Any

import pytest

from aishark_panel.errors import ConfigError
from aishark_panel.views.exports import Exports
from aishark_panel.views.feed import Feed
from aishark_panel.views.header import Header
from tests.views.hub import SECOND_NS, START_NS, MemoryHub, wait

WRITING = {
    "state": "writing", "reason": "", "total": 9, "looked_at": 4, "written": 3, "missed": 0, "bytes": 300,
}  # fmt: skip


@pytest.fixture(autouse=True)
def no_routes(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a notebook."""
    monkeypatch.setattr("aishark_panel.views.exports.at_page", lambda: False)


@pytest.fixture
def exports(hub: MemoryHub, feed: Feed) -> Exports:
    hub.add(["tcp", "dns", "tcp"])
    wait(feed.pull())
    return Exports(feed)


def test_an_export_is_followed_until_it_has_ended(hub: MemoryHub, exports: Exports) -> None:
    assert wait(exports.begin("csv", shown=False)) == "http://127.0.0.1:1/api/export/ticket-1"
    (line,) = exports.lines()
    assert (line["session"], line["format"], line["state"]) == ("lab", "csv", "waiting")
    hub.export = dict(WRITING)
    wait(exports.pull())
    assert exports.lines()[0]["looked_at"] == 4
    hub.export |= {"state": "done", "written": 9, "missed": 3}
    wait(exports.pull())
    hub.export = {}
    wait(exports.pull())  # nothing more is asked
    assert (exports.lines()[0]["state"], exports.lines()[0]["missed"]) == ("done", 3)
    wait(exports.cancel("ticket-1"))
    assert exports.lines() == []


def test_an_export_that_goes_on_is_cancelled(hub: MemoryHub, exports: Exports) -> None:
    wait(exports.begin("pcapng", shown=False))
    hub.export = dict(WRITING)
    wait(exports.cancel("ticket-1"))
    assert exports.lines()[0]["state"] == "cancelled"
    wait(exports.cancel("no such ticket"))


def test_a_hub_that_forgot_it_and_one_that_is_away_differ(hub: MemoryHub, exports: Exports) -> None:
    wait(exports.begin("pcapng", shown=False))
    wait(exports.pull())
    assert exports.lines()[0]["state"] == "failed"
    assert "restarted" in exports.lines()[0]["reason"]


def test_what_the_page_shows_is_filter_and_time_together(hub: MemoryHub, feed: Feed, exports: Exports) -> None:
    wait(feed.filter("tcp"))
    wait(feed.choose_range((START_NS, START_NS + SECOND_NS)))
    wait(exports.begin("parquet", shown=True))
    wait(exports.begin("parquet", shown=False))
    (first, second) = hub.tickets
    assert first[1].startswith("(tcp) and ts >= '2023-11-14T22:13:20")
    assert second[1] == ""
    header = Header(feed)
    wait(header.refresh())
    state = header.root.drawn
    assert (state["kept"], state["matched"], state["matched_complete"]) == (3, 1, True)
    assert (state["filtered"], state["ranged"]) == (True, True)


def test_a_format_that_is_not_there_is_refused(exports: Exports) -> None:
    with pytest.raises(ConfigError, match="no export format 'exe'"):
        wait(exports.begin("exe", shown=False))


def test_the_header_tells_of_exports_and_recordings(hub: MemoryHub, feed: Feed, answers: list[dict[str, Any]]) -> None:
    hub.add(["tcp"])
    header = Header(feed)
    wait(header.refresh())
    press = header.root._handle_msg
    wait(press({"export": "csv", "shown": False, "purpose": "download"}))
    assert answers == [{"download": "http://127.0.0.1:1/api/export/ticket-1"}]
    assert [each["format"] for each in header.root.drawn["exports"]] == ["csv"]
    hub.export = dict(WRITING)
    wait(header.refresh())
    assert header.root.drawn["exports"][0]["written"] == 3
    wait(press({"export_cancel": "ticket-1"}))
    assert header.root.drawn["exports"][0]["state"] == "cancelled"
    assert header.root.drawn["recordings"] == 0
