"""What the page's keys do; which keys they are is the browser's part (tests/browser/test_bar.py)."""

import pytest

from aishark_panel.views.feed import Feed
from aishark_panel.views.keys import Keys
from aishark_panel.views.page import Dashboard
from tests.views.hub import MemoryHub, wait


@pytest.fixture
def dashboard(hub: MemoryHub, feed: Feed) -> Dashboard:
    hub.add(["tcp", "dns"])
    made = Dashboard(feed)
    wait(feed.pull())
    return made


@pytest.fixture
def keys(dashboard: Dashboard) -> Keys:
    return Keys(dashboard.feed, dashboard.header, dashboard.tabs, on_packet=dashboard.detail.look_at)


def test_a_key_pauses_and_goes_on(dashboard: Dashboard, keys: Keys) -> None:
    wait(keys.root._handle_msg({"pause": True}))
    assert (dashboard.feed.paused, dashboard.header.root.drawn["paused"]) == (True, True)
    wait(keys.root._handle_msg({"pause": True}))
    assert (dashboard.feed.paused, dashboard.header.root.drawn["paused"]) == (False, False)


def test_digits_are_tabs_and_those_of_no_tab_are_nothing(dashboard: Dashboard, keys: Keys) -> None:
    wait(keys.root._handle_msg({"tab": 2}))
    assert dashboard.tabs.chosen == dashboard.tabs.names[1]
    wait(keys.root._handle_msg({"tab": 9}))
    assert dashboard.tabs.chosen == dashboard.tabs.names[1]


def test_a_number_goes_to_its_packet_on_the_first_tab(dashboard: Dashboard, keys: Keys) -> None:
    wait(keys.root._handle_msg({"tab": 2}))
    wait(keys.root._handle_msg({"go_to": 2}))
    assert (dashboard.tabs.chosen, dashboard.detail.number) == ("Packets", 2)


def test_the_map_knows_the_tabs_and_the_numbers_there_are(dashboard: Dashboard, keys: Keys) -> None:
    keys.paint()
    assert keys.root.drawn == {"tabs": dashboard.tabs.names, "first": 1, "last": 2, "problems": False}


def test_keys_go_from_problem_to_problem_where_there_is_a_way(dashboard: Dashboard) -> None:
    went: list[bool] = []

    async def go(forward: bool) -> None:
        went.append(forward)

    detail = dashboard.detail
    keys = Keys(dashboard.feed, dashboard.header, dashboard.tabs, on_packet=detail.look_at, on_problem=go)
    keys.paint()
    assert keys.root.drawn["problems"]
    wait(keys.root._handle_msg({"tab": 2}))
    for forward in (True, False):
        wait(keys.root._handle_msg({"problem": forward}))
    assert (went, dashboard.tabs.chosen) == ([True, False], "Packets")
