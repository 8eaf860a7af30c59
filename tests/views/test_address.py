"""Deep links: what is written can be read, and a page follows them as far as it may."""

from typing import Any
from urllib.parse import parse_qs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aishark_panel.views.address import Address
from aishark_panel.views.feed import Feed
from aishark_panel.views.link import Link, link_query, read_link
from aishark_panel.views.page import Dashboard
from tests.views.hub import SECOND_NS, START_NS, MemoryHub, wait

WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40).map(str.strip)
TIMES = st.integers(0, 4_000_000_000 * SECOND_NS)
LINKS = st.builds(
    Link,
    session=WORDS,
    where=WORDS,
    range=st.none() | st.tuples(TIMES, TIMES).filter(lambda r: r[0] < r[1]),
    window=WORDS,
    until=st.none() | TIMES,
    tab=WORDS,
    packet=st.none() | st.integers(1, 10**15),
    kiosk=st.booleans(),
    views=st.lists(st.from_regex(r"[a-z]{1,10}", fullmatch=True), max_size=12).map(tuple),
)


@given(LINKS)
def test_what_is_written_is_read_again(link: Link) -> None:
    assert read_link(parse_qs(link_query(link))) == (link, [])


def test_a_link_is_short_and_says_times_as_people_do() -> None:
    assert link_query(Link()) == ""
    link = Link(session="5e55", where="dns and a == 'b'", range=(START_NS, START_NS + SECOND_NS // 2))
    assert link_query(link) == (
        "session=5e55&filter=dns+and+a+%3D%3D+%27b%27&from=2023-11-14T22%3A13%3A20Z&to=2023-11-14T22%3A13%3A20.5Z"
    )


@pytest.mark.parametrize(
    "query",
    ["until=never", "packet=x",
     "packet=-1", "packet=0", "from=2023-11-14T22:13:20Z", "from=never&to=soon", "to=2023-13-45T00:00:00Z",
     "from=2023-11-14T22:13:21Z&to=2023-11-14T22:13:20Z"],
)  # fmt: skip
def test_what_says_nothing_is_told_and_left_out(query: str) -> None:
    link, problems = read_link(parse_qs(query))
    assert link == Link()
    assert len(problems) == 1


def test_names_of_others_are_none_of_ours() -> None:
    assert read_link(parse_qs("token=secret&theme=x")) == (Link(), [])


@pytest.fixture
def dashboard(hub: MemoryHub, feed: Feed) -> Dashboard:
    hub.add(["tcp", "dns", "dns", "arp"])
    return Dashboard(feed)


@pytest.fixture
def address(dashboard: Dashboard) -> Address:
    detail = dashboard.detail
    return Address(dashboard.feed, dashboard.filter_bar, dashboard.tabs, detail, on_packet=detail.look_at)


def follow(address: Address, query: str) -> dict[str, Any]:
    wait(address.root._handle_msg({"went": query}))
    return dict(address.root.drawn)


def test_a_page_follows_a_link_and_links_to_what_it_shows(dashboard: Dashboard, address: Address) -> None:
    start, end = START_NS + SECOND_NS, START_NS + 2 * SECOND_NS
    link = Link(session="5e55", where="dns", range=(start, end), window="5 min", tab="Alerts", packet=2)
    state = follow(address, link_query(link))
    feed = dashboard.feed
    assert (feed.where, feed.range, feed.window, feed.extent.count) == ("dns", (start, end), "5 min", 1)
    assert (dashboard.tabs.chosen, dashboard.detail.root.drawn["number"]) == ("Alerts", 2)
    assert state == {"query": link_query(link), "notice": ""}


def test_a_page_that_nobody_touched_links_to_its_session_only(address: Address) -> None:
    assert follow(address, "")["query"] == "session=5e55"


def test_a_session_is_found_by_its_name(hub: MemoryHub, address: Address) -> None:
    hub.created = ["night", "night"]
    assert follow(address, "session=night")["query"] == "session=new1"


def test_a_session_that_is_gone_is_told_and_what_there_is_is_shown(dashboard: Dashboard, address: Address) -> None:
    state = follow(address, "session=gone&filter=dns&packet=2&from=2023-11-14T22:13:20Z&to=2023-11-14T22:13:21Z")
    assert state["notice"] == "The session 'gone' is gone, or not yours to see. Shown is lab."
    assert state["query"] == "session=5e55&filter=dns"  # a number and a time mean nothing in another session
    wait(address.root._handle_msg({"read": True}))
    assert address.root.drawn["notice"] == ""


def test_what_else_is_not_there_is_told(dashboard: Dashboard, address: Address) -> None:
    state = follow(address, "tab=Cellar&window=a+year&filter=src_prt+%3D%3D+1&packet=99")
    assert "no tab 'Cellar'" in state["notice"]
    assert "no window 'a year'" in state["notice"]
    assert dashboard.filter_bar.root.drawn["error"]["fix"] == "src_port == 1"
    assert "packet 99 is not in the ring" in dashboard.detail.root.drawn["problem"]


def test_going_back_takes_away_what_the_address_does_not_name(dashboard: Dashboard, address: Address) -> None:
    follow(address, "session=5e55&filter=dns&tab=Alerts&packet=2")
    assert follow(address, "session=5e55")["query"] == "session=5e55"
    assert (dashboard.tabs.chosen, dashboard.detail.root.drawn) == ("Packets", {})
