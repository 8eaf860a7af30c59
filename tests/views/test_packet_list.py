"""Only the rows that are asked for travel, whatever the browser says."""

from typing import Any

import pytest

from aishark_panel.errors import NotFoundError
from aishark_panel.views.feed import Feed
from aishark_panel.views.packet_list import MAX_COLUMNS, MAX_ROWS, PacketList
from tests.views.hub import SECOND_NS, START_NS, MemoryHub, frame, wait

COLUMNS = ["number", "ts", "source", "protocol", "info", "no such column"]


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the list sent to the browser."""
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr("aishark_panel.views.base.Element.send", lambda self, message: sent.append(message))
    return sent


def test_a_range_of_rows_comes_as_columns(hub: MemoryHub, feed: Feed, answers: list[dict[str, Any]]) -> None:
    hub.add(["tcp", "arp", "dns"])
    view = PacketList(feed)
    wait(view.refresh())
    wait(view.root._handle_msg({"rows": [2, 2], "epoch": feed.epoch, "columns": COLUMNS}))
    (answer,) = answers
    assert answer["first"] == 2
    rows = answer["rows"]
    assert rows["number"] == [2, 3]
    assert rows["family"] == ["arp", "dns"]
    assert rows["problem"] == ["", ""]
    assert (rows["s"], rows["ns"]) == ([1_700_000_001, 1_700_000_002], [0, 0])
    assert rows["cells"]["protocol"] == ["ARP", "DNS"]
    assert rows["cells"]["source"] == ["10.0.0.1", "10.0.0.1"]
    assert list(rows["cells"]) == ["source", "protocol", "info"]


def test_with_a_filter_rows_are_counted_among_the_matches(
    hub: MemoryHub, feed: Feed, answers: list[dict[str, Any]]
) -> None:
    hub.add(["tcp", "dns", "tcp", "dns"])
    wait(feed.filter("dns"))
    view = PacketList(feed)
    wait(view.root._handle_msg({"rows": [feed.extent.first + 1, 5], "epoch": feed.epoch, "columns": COLUMNS}))
    assert answers[0]["rows"]["number"] == [4]


def test_a_question_from_before_a_change_is_answered_with_nothing(
    hub: MemoryHub, feed: Feed, answers: list[dict[str, Any]]
) -> None:
    hub.add(["tcp"])
    view = PacketList(feed)
    wait(view.refresh())
    old = feed.epoch
    wait(feed.filter("tcp"))
    wait(view.root._handle_msg({"rows": [1, 1], "epoch": old, "columns": COLUMNS}))
    assert answers == [{"epoch": old, "first": 1, "kept": 0, "rows": {}}]


def test_a_greedy_browser_gets_no_more_than_the_limit(
    hub: MemoryHub, feed: Feed, answers: list[dict[str, Any]]
) -> None:
    hub.add(["arp"] * (MAX_ROWS + 50), every_ns=1000)
    view = PacketList(feed)
    wait(view.refresh())
    wait(view.root._handle_msg({"rows": [-5, 10**12], "epoch": feed.epoch, "columns": COLUMNS}))
    assert len(answers[0]["rows"]["number"]) <= MAX_ROWS


@pytest.mark.parametrize(
    "message", [None, 7, [], {}, {"rows": "all"}, {"rows": [1, "x"], "epoch": 1}, {"select": None}]
)
def test_messages_of_another_form_are_ignored(feed: Feed, answers: list[dict[str, Any]], message: Any) -> None:
    wait(PacketList(feed).root._handle_msg(message))
    assert answers == []


def test_a_lost_hub_still_gets_an_answer_to_the_browser(
    hub: MemoryHub, feed: Feed, answers: list[dict[str, Any]]
) -> None:
    hub.add(["tcp"])
    view = PacketList(feed)
    wait(view.refresh())
    hub.connected = False
    wait(view.root._handle_msg({"rows": [1, 1], "epoch": feed.epoch, "columns": COLUMNS}))
    assert answers == [{"epoch": feed.epoch, "first": 1, "kept": 0, "rows": {}}]


def test_an_empty_list_says_why(hub: MemoryHub, feed: Feed) -> None:
    view = PacketList(feed)
    wait(view.refresh())
    assert view.root.drawn["empty"]
    hub.add(["tcp"], START_NS + SECOND_NS)
    wait(view.refresh())
    assert view.root.drawn["empty"] == ""
    wait(feed.filter("arp"))
    view.paint()
    assert view.root.drawn["empty"] == "None of the 1 packets kept matches the display filter."


def test_a_selected_row_is_passed_on(feed: Feed) -> None:
    chosen: list[int] = []

    async def select(number: int) -> None:
        chosen.append(number)

    wait(PacketList(feed, select).root._handle_msg({"select": 12}))
    assert chosen == [12]


def test_while_the_list_follows_the_newest_rows_come_with_the_tick(hub: MemoryHub, feed: Feed) -> None:
    hub.add(["tcp"] * 9)
    view = PacketList(feed)

    def newest() -> list[int]:
        wait(view.refresh())
        came: Any = view.root.drawn["newest"]
        return came["rows"]["number"] if came else []

    assert newest() == []
    wait(view.root._handle_msg({"fits": 3, "follows": True, "columns": COLUMNS}))
    assert newest() == [7, 8, 9]
    feed.paused = True
    hub.add(["dns"], START_NS + 60 * SECOND_NS)
    assert newest() == []
    feed.paused = False
    wait(view.root._handle_msg({"fits": 10**9, "follows": True, "columns": COLUMNS}))
    assert newest() == list(range(1, 11))
    wait(view.root._handle_msg({"fits": 3, "follows": False, "columns": COLUMNS}))
    assert newest() == []


def went(view: PacketList) -> tuple[int, bool]:
    """The row that the browser is sent to, and whether something is said of it."""
    goal: Any = view.root.drawn["go"]
    return goal["row"], bool(goal["note"])


def test_one_goes_to_a_packet_by_its_number_also_among_matches(hub: MemoryHub, feed: Feed) -> None:
    hub.add(["tcp", "dns", "tcp", "dns", "arp"])
    view = PacketList(feed)
    wait(view.refresh())
    wait(view.go_to(3))
    assert went(view) == (3, False)
    wait(feed.filter("dns"))
    first = feed.extent.first
    wait(view.go_to(3))
    assert went(view) == (first + 1, True)
    wait(view.go_to(99))
    assert went(view) == (first + 1, True)
    wait(view.root._handle_msg({"select": 2}))
    view.paint()
    assert view.root.drawn["go"] is None
    wait(feed.filter("number > 1000"))
    with pytest.raises(NotFoundError, match="no packets"):
        wait(view.go_to(1))


def test_problems_are_gone_through_in_both_directions_and_round(hub: MemoryHub, feed: Feed) -> None:
    hub.add(
        ["dns", "tcp", "tcp", "dns", "tcp"]
    )  # the same segment again and again: packets 3 and 5 are retransmissions
    view = PacketList(feed)
    wait(view.refresh())
    expected = [(True, 3, False), (True, 5, False), (True, 3, True), (False, 5, True), (False, 3, False)]
    for forward, row, says in expected:
        wait(view.next_problem(forward))
        assert went(view) == (row, says)
    wait(feed.filter("dns"))
    with pytest.raises(NotFoundError, match="No packet of the list has a problem"):
        wait(view.next_problem())


def test_a_value_of_a_row_becomes_a_condition(hub: MemoryHub, feed: Feed, answers: list[dict[str, Any]]) -> None:
    chosen: list[tuple[str, bool]] = []

    async def add(condition: str, exclude: bool) -> None:
        chosen.append((condition, exclude))

    hub.add(["dns", "arp"])
    view = PacketList(feed, on_filter=add)
    for name, number, exclude in (
        ("dst_port", 1, False),
        ("source", 2, True),
        ("dns_query", 1, False),
        ("ts", 2, False),
    ):
        wait(view.root._handle_msg({"filter": name, "packet": number, "exclude": exclude}))
    assert chosen == [
        ("dst_port == 53", False),
        ("src_ip == 10.0.0.1", True),
        ("dns_query == 'a.test'", False),
        ("ts >= '2023-11-14T22:13:21.000000000Z'", False),
    ]
    wait(feed.filter(" and ".join(f"not ({text})" if no else text for text, no in chosen[1:3])))
    wait(view.root._handle_msg({"copy": "filter", "column": "protocol", "packet": 1}))
    wait(view.root._handle_msg({"copy": "bytes", "packet": 1}))
    assert answers[0] == {"copied": "protocol == 'DNS'"}
    assert bytes.fromhex(answers[1]["copied"]) == frame("dns")


@pytest.mark.parametrize(("name", "packet"), [("dns_query", 2), ("no such column", 1), ("info", 1), ("number", 77)])
def test_what_cannot_become_a_condition_is_said(hub: MemoryHub, feed: Feed, name: str, packet: int) -> None:
    hub.add(["dns", "arp"])
    with pytest.raises(NotFoundError):
        wait(PacketList(feed)._receive({"copy": "filter", "column": name, "packet": packet}))


def test_every_column_that_is_offered_can_be_shown(hub: MemoryHub, feed: Feed, answers: list[dict[str, Any]]) -> None:
    hub.add(["tcp", "dns", "arp"])
    view = PacketList(feed)
    wait(view.refresh())
    wait(view.root._handle_msg({"choices": True}))
    names = [choice["name"] for choice in answers[0]["choices"]]
    assert {"number", "ts", "source", "tcp_problem", "dns_query", "info", "iface"} <= set(names)
    for start in range(0, len(names), MAX_COLUMNS):
        some = names[start : start + MAX_COLUMNS]
        wait(view.root._handle_msg({"rows": [1, 3], "epoch": feed.epoch, "columns": some}))
        cells = answers[-1]["rows"]["cells"]
        assert set(cells) == set(some) - {"number", "ts"}
        assert all(isinstance(text, str) for texts in cells.values() for text in texts)


def test_another_filter_brings_its_rows_before_the_next_tick(hub: MemoryHub, feed: Feed) -> None:
    hub.add(["tcp", "dns", "tcp", "dns"])
    view = PacketList(feed)
    wait(view.refresh())
    wait(view.root._handle_msg({"fits": 3, "follows": False, "columns": COLUMNS}))
    wait(feed.filter("dns"))
    state: Any = view.root.drawn
    assert (state["epoch"], state["newest"]["epoch"]) == (feed.epoch, feed.epoch)
    assert state["newest"]["rows"]["number"] == [2, 4]
    feed.paused = True
    wait(feed.filter("tcp"))
    state = view.root.drawn
    assert (state["first"], state["end"], state["empty"]) == (0, 2, "")
    assert state["newest"]["rows"]["number"] == [1, 3]


def test_who_looks_at_a_packet_keeps_it_in_sight_under_another_filter(hub: MemoryHub, feed: Feed) -> None:
    hub.add(["tcp", "dns", "tcp", "dns"])
    view = PacketList(feed)
    wait(view.refresh())
    wait(view.root._handle_msg({"fits": 3, "follows": False, "columns": COLUMNS}))
    wait(view.root._handle_msg({"select": 2}))
    wait(feed.filter("dns"))
    state: Any = view.root.drawn
    assert (state["go"]["row"], state["go"]["epoch"], state["newest"]) == (0, feed.epoch, None)
    wait(feed.filter("tcp"))
    state = view.root.drawn
    assert state["newest"]["rows"]["number"] == [1, 3]


def test_rows_that_come_for_another_filter_are_not_taken(hub: MemoryHub, feed: Feed) -> None:
    hub.add(["tcp", "dns"])
    view = PacketList(feed)
    wait(view.refresh())
    wait(view.root._handle_msg({"fits": 3, "follows": True, "columns": COLUMNS}))
    ask = hub.rows

    async def late(*args: Any, **more: Any) -> Any:
        answer = await ask(*args, **more)
        feed.epoch += 1  # somebody filters while the answer is on its way
        return answer

    hub.rows = late  # type: ignore[method-assign]
    wait(view.pull())
    newest: Any = view._newest
    assert newest["epoch"] == feed.epoch - 1


@pytest.mark.parametrize(
    ("agents", "column"),
    [
        ([("a", 1)], ""),
        ([("a", 1), ("a", 1)], ""),
        ([("a", 1), ("b", 1)], "agent"),
        ([("a", 2)], "iface"),
        ([("a", 2), ("b", 1)], "iface"),
    ],
)
def test_where_packets_come_from_is_a_column_if_that_differs(
    feed: Feed, agents: list[tuple[str, int]], column: str
) -> None:
    view = PacketList(feed)
    feed.stats = {"agents": [{"name": name, "interfaces": [{}] * count} for name, count in agents]}
    view.paint()
    assert view.root.drawn["several"] == column


@pytest.mark.parametrize(("number", "why"), [(0, "does not exist"), (99, "has not come yet"), (3, "does not match")])
def test_why_another_packet_is_shown_is_told(hub: MemoryHub, feed: Feed, number: int, why: str) -> None:
    hub.add(["tcp", "dns", "tcp", "dns"])
    wait(feed.filter("dns"))
    view = PacketList(feed)
    wait(view.root._handle_msg({"go_to": number}))
    goal: Any = view.root.drawn["go"]
    assert why in goal["note"]
