"""The sheet that shows what was said in a conversation."""

import base64
from typing import Any

from aishark_panel.views.feed import Feed
from aishark_panel.views.follow import PAGE_BYTES, Follow
from aishark_panel.views.packet_detail import PacketDetail
from tests.views.hub import MemoryHub, frame, wait


class Heard:
    """What a view says to the rest of the page, and the messages it sends to the browser."""

    def __init__(self, feed: Feed) -> None:
        self.filters: list[tuple[str, bool]] = []
        self.selected: list[int] = []
        self.sent: list[dict[str, Any]] = []
        self.follow = Follow(feed, self._filter, self._select)
        self.follow.root.send = self.sent.append  # type: ignore[method-assign, assignment]

    async def _filter(self, condition: str, exclude: bool) -> None:
        self.filters.append((condition, exclude))

    async def _select(self, number: int) -> None:
        self.selected.append(number)

    def receive(self, **message: Any) -> None:
        wait(self.follow.root._handle_msg(message))


def conversation_of(hub: MemoryHub, number: int) -> int:
    found: int = wait(hub.packet("", number))["conversation_id"]
    return found


def test_a_packets_conversation_can_be_read(hub: MemoryHub, feed: Feed) -> None:
    hub.add(["dns", "tcp", "arp", "tcp"])
    wait(feed.pull())
    heard = Heard(feed)
    detail = PacketDetail(feed, on_follow=heard.follow.read)
    wait(detail.look_at(3))
    assert not detail.root.drawn["follows"]
    wait(detail.look_at(2))
    assert detail.root.drawn["follows"]
    assert heard.follow.root.drawn == {}
    wait(detail.root._handle_msg({"follow": True}))
    state = heard.follow.root.drawn
    assert (state["conversation"], state["family"]) == (str(conversation_of(hub, 2)), "tcp")
    assert state["numbers"]["packets"] == [2, 0]
    assert state["numbers"]["bytes"] == [2 * len(frame("tcp")), 0]
    assert state["numbers"]["duration_ms"] == 2_000
    assert sum(state["kept"]["bytes_ab"]) == 2 * len(frame("tcp"))


def test_bytes_come_when_the_browser_asks_for_them(hub: MemoryHub, feed: Feed) -> None:
    hub.add(["dns", "tcp"])
    wait(feed.pull())
    heard = Heard(feed)
    conversation = conversation_of(hub, 2)
    wait(heard.follow.read(conversation))
    assert heard.sent == []
    heard.receive(page="", conversation=str(conversation))
    heard.receive(page="", conversation="4711")
    (page,) = heard.sent
    assert base64.b64decode(page["data"]) == b"x" * 46
    assert [piece[:1] + piece[2:] for piece in page["pieces"]] == [[2, 0, 46, 0, 0, False]]
    assert (page["a"], page["b"], page["more"]) == ("10.0.0.1:4000", "10.0.0.2:9999", False)
    heard.receive(page="nonsense", conversation=str(conversation))
    assert "no cursor" in heard.sent[1]["problem"]
    assert heard.sent[1]["pieces"] == []


def test_a_page_is_bounded_and_the_next_one_goes_on(hub: MemoryHub, feed: Feed) -> None:
    hub.add(["dns"] * (PAGE_BYTES // 24 + 10), every_ns=1_000)
    wait(feed.pull())
    heard = Heard(feed)
    conversation = conversation_of(hub, 1)
    wait(heard.follow.read(conversation))
    heard.receive(page="", conversation=str(conversation))
    heard.receive(page=heard.sent[0]["cursor"], conversation=str(conversation))
    assert [page["more"] for page in heard.sent] == [True, False]
    assert len(base64.b64decode(heard.sent[0]["data"])) < PAGE_BYTES + 100
    assert sum(len(page["pieces"]) for page in heard.sent) == PAGE_BYTES // 24 + 10


def test_it_tells_the_page_what_to_filter_and_to_show(hub: MemoryHub, feed: Feed) -> None:
    hub.add(["tcp"])
    wait(feed.pull())
    heard = Heard(feed)
    heard.receive(only=False)
    wait(heard.follow.read(conversation_of(hub, 1)))
    heard.receive(only=True)
    heard.receive(select=1)
    assert heard.filters == [(f"conversation_id == {conversation_of(hub, 1)}", True)]
    assert heard.selected == [1]
    heard.receive(close=True)
    assert heard.follow.root.drawn == {}
    hub.asked.clear()
    wait(heard.follow.pull())
    assert hub.asked == []


def test_numbers_grow_and_a_conversation_that_is_gone_is_said(hub: MemoryHub, feed: Feed) -> None:
    hub.add(["tcp"])
    wait(feed.pull())
    heard = Heard(feed)
    wait(heard.follow.read(conversation_of(hub, 1)))
    hub.add(["tcp"], every_ns=5)
    wait(heard.follow.refresh())
    assert heard.follow.root.drawn["numbers"]["packets"] == [2, 0]
    wait(hub.clear(""))
    wait(heard.follow.refresh())
    assert "no conversation" in heard.follow.root.drawn["problem"]
