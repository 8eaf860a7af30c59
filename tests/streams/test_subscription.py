"""Subscriptions without sockets: what they get, what they miss, and that it adds up."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import pytest

from aishark_panel.errors import ConfigError, ExpressionError
from aishark_panel.streams import feeds
from aishark_panel.streams.agentrun import AgentRun
from aishark_panel.streams.feeds import Feed, Wanted
from aishark_panel.streams.ring import MIN_LIMIT_BYTES
from aishark_panel.streams.session import Session
from aishark_panel.streams.subscription import QUEUE_BYTES, Subscription, Whence
from tests.arrow import read_stream
from tests.traffic import frames, hello

ALL = Wanted.parse("", ["number"], "arrow")
WITH_FRAMES = Wanted.parse("", ["number", "frame"], "arrow")


class Source:
    """A session and who feeds it with numbered packets."""

    def __init__(self) -> None:
        self.session = Session("id", "name", ring_bytes=MIN_LIMIT_BYTES)
        self._run: AgentRun = self.session.runs.attach(hello())
        self._sequence = 0

    def add(self, count: int, size: int = 20) -> None:
        self._sequence += 1
        first = self.session.ring.end - 1
        self.session.ingest(self._run, frames(count, first=first, size=size), self._sequence, {})


class Reader:
    """A client: takes what is sent, but no more than it is allowed to."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.notices: list[dict[str, int]] = []
        self.may_read = asyncio.Event()

    async def has_read(self, number: int) -> None:
        """Until that packet came last."""
        await until(lambda: self.numbers[-1:] == [number])

    async def take(self, message: str | bytes) -> None:
        await self.may_read.wait()
        if isinstance(message, str):
            self.notices.append(json.loads(message))
        else:
            self.numbers += read_stream(message).column("number").to_pylist()


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture(scope="module")
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as made:
        yield made


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def within() -> None:
        async with asyncio.timeout(30):
            await test()

    asyncio.run(within())


@asynccontextmanager
async def reading(subscription: Subscription, reader: Reader) -> AsyncIterator["asyncio.Task[str]"]:
    """Both halves of a subscription at work; yields the one that fills."""
    filling = asyncio.create_task(subscription.fill(lambda: True))
    draining = asyncio.create_task(subscription.drain(reader.take))
    yield filling
    for task in (filling, draining):
        task.cancel()
    for ended in await asyncio.gather(filling, draining, return_exceptions=True):
        assert ended is None or isinstance(ended, str | asyncio.CancelledError)


async def until(check: Callable[[], bool]) -> None:
    while not check():  # noqa: ASYNC110 - what is waited for has no event
        await asyncio.sleep(0.01)


def adds_up(subscription: Subscription) -> bool:
    counts = subscription.counts
    return counts.offered == counts.delivered + counts.queued + counts.missed


def test_it_begins_where_it_was_asked_to_and_goes_on_with_what_comes(source: Source, pool: ThreadPoolExecutor) -> None:
    async def test() -> None:
        source.add(100)
        feed = Feed(source.session, Wanted.parse("src_port < 10_010", ["number"], "arrow"), pool)
        for start in ("now", "oldest", "5"):
            reader = Reader()
            reader.may_read.set()
            subscription = Subscription(feed, Whence.parse(start, "", "skip"))
            first = {"now": source.session.ring.end, "oldest": 1, "5": 5}[start]
            async with reading(subscription, reader):
                source.add(300)
                expected = [n for n in range(first, source.session.ring.end) if (n - 1) % 250 < 10]
                await reader.has_read(expected[-1])
            assert reader.numbers == expected
            assert subscription.counts.delivered == subscription.counts.offered == len(reader.numbers)

    run(test)


def test_who_follows_live_and_does_not_read_misses_what_finds_no_room_and_can_have_it_later(
    source: Source, pool: ThreadPoolExecutor
) -> None:
    async def test() -> None:
        feed, reader = Feed(source.session, WITH_FRAMES, pool), Reader()
        subscription = Subscription(feed, Whence.parse("now", "", "skip"))
        async with reading(subscription, reader):
            for _ in range(12):
                source.add(1_000, size=1_000)
                await until(lambda: subscription.counts.offered == source.session.ring.end - 1)
                assert adds_up(subscription)
            assert subscription.counts.missed > 0
            assert subscription.queued_bytes < QUEUE_BYTES + 2 * feeds.PIECE_FRAME_BYTES
            reader.may_read.set()
            await until(lambda: bool(reader.notices))
            source.add(10)
            await reader.has_read(12_010)
        (notice,) = reader.notices
        missing = sorted(set(range(1, 12_011)) - set(reader.numbers))
        assert missing == list(range(notice["first"], notice["next"]))
        assert (len(missing), notice["evicted"]) == (notice["packets"], 0)
        counts = subscription.counts
        assert (counts.offered, counts.delivered, counts.missed) == (12_010, len(reader.numbers), len(missing))
        late = Reader()
        late.may_read.set()
        again = Subscription(feed, Whence.parse(str(notice["first"]), str(notice["next"]), "skip"))
        async with reading(again, late) as filling:
            assert await filling == "the end was reached"
            await until(lambda: again.counts.queued == 0)
        assert late.numbers == missing

    run(test)


@pytest.mark.parametrize("start", ["oldest", "now"])
def test_who_waits_misses_only_what_is_evicted(source: Source, pool: ThreadPoolExecutor, start: str) -> None:
    async def test() -> None:
        source.add(1)
        feed, reader = Feed(source.session, WITH_FRAMES, pool), Reader()
        subscription = Subscription(feed, Whence.parse(start, "", "wait"))
        async with reading(subscription, reader):
            while not source.session.ring.evicted:
                source.add(2_000, size=1_000)
                await asyncio.sleep(0)
            await until(lambda: subscription.queued_bytes >= QUEUE_BYTES)
            while subscription.counts.queued + 10_000 > source.session.ring.first:
                source.add(2_000, size=1_000)
            reader.may_read.set()
            await reader.has_read(source.session.ring.end - 1)
        missing = sorted(set(range(1 + (start == "now"), source.session.ring.end)) - set(reader.numbers))
        assert missing == [n for notice in reader.notices for n in range(notice["first"], notice["next"])]
        assert missing
        assert all(notice["packets"] == notice["evicted"] for notice in reader.notices)
        assert reader.numbers == sorted(reader.numbers)
        assert subscription.counts.missed == len(missing)
        assert adds_up(subscription)

    run(test)


def test_equals_share_one_evaluation(source: Source, pool: ThreadPoolExecutor) -> None:
    async def test() -> None:
        joined = [await source.session.feeds.join(source.session, ALL, pool) for _ in range(10)]
        assert len(set(map(id, joined))) == 1
        feed, readers = joined[0], [Reader() for _ in joined]
        subscriptions = [Subscription(feed, Whence.parse("now", "", "skip")) for _ in joined]
        async with asyncio.TaskGroup() as group:
            tasks: list[asyncio.Task[Any]] = []
            for subscription, reader in zip(subscriptions, readers, strict=True):
                reader.may_read.set()
                tasks.append(group.create_task(subscription.fill(lambda: True)))
                tasks.append(group.create_task(subscription.drain(reader.take)))
            for i in range(1, 4):
                source.add(1_000)
                for reader in readers:
                    await reader.has_read(1_000 * i)
            for task in tasks:
                task.cancel()
        assert all(r.numbers == list(range(1, 3_001)) for r in readers)
        assert feed.made <= 6  # not 30; a beat may fall into a batch
        for _ in joined:
            source.session.feeds.leave(feed)
        assert await source.session.feeds.join(source.session, ALL, pool) is not feed

    run(test)


def test_one_that_leaves_while_others_wait_for_the_same_piece_takes_nothing_from_them(
    source: Source, pool: ThreadPoolExecutor
) -> None:
    async def test() -> None:
        source.add(10)
        feed = Feed(source.session, ALL, pool)
        asking = [asyncio.create_task(feed.piece(1, 11)) for _ in range(2)]
        await asyncio.sleep(0)
        asking[0].cancel()
        assert (await asking[1]).packets == 10

    run(test)


def test_json_lines_have_the_same_packets(source: Source, pool: ThreadPoolExecutor) -> None:
    async def test() -> None:
        source.add(300)
        wanted = Wanted.parse("dst_port == 7_000", ["number", "src_ip"], "json")
        piece = await Feed(source.session, wanted, pool).piece(200, 301)
        lines = [json.loads(line) for line in piece.message.splitlines()]
        assert lines == [{"number": n, "src_ip": f"10.0.0.{(n - 1) % 250 + 1}"} for n in range(200, 301)]
        assert (piece.first, piece.end, piece.packets) == (200, 301, 101)

    run(test)


def test_what_is_queued_for_one_that_leaves_is_missed(source: Source, pool: ThreadPoolExecutor) -> None:
    async def test() -> None:
        session = source.session
        subscription = Subscription(Feed(session, ALL, pool), Whence.parse("now", "", "skip"))
        session.feeds.count(subscription.counts)
        async with reading(subscription, Reader()):
            source.add(10)
            await until(lambda: subscription.counts.queued == 10)
            assert session.feeds.stats() == {"open": 1, "offered": 10, "delivered": 0, "queued": 10, "missed": 0}
        subscription.close()
        session.feeds.count_out(subscription.counts)
        assert session.feeds.stats() == {"open": 0, "offered": 10, "delivered": 0, "queued": 0, "missed": 10}

    run(test)


def test_it_ends_with_its_session(source: Source, pool: ThreadPoolExecutor) -> None:
    async def test() -> None:
        source.add(10)
        reader = Reader()
        reader.may_read.set()
        subscription = Subscription(Feed(source.session, ALL, pool), Whence.parse("oldest", "", "skip"))
        source.session.deleted = True
        async with reading(subscription, reader) as filling:
            assert await filling == "the session was deleted"
            await until(lambda: len(reader.numbers) == 10)

    run(test)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (("", [], "xml"), "format is arrow or json, not 'xml'"),
        (("", ["nothing"], "arrow"), "no column 'nothing'"),
        (("", ["frame"], "json"), "no column 'frame'"),
    ],
)
def test_what_makes_no_sense_is_refused(asked: tuple[str, list[str], str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Wanted.parse(*asked)


@pytest.mark.parametrize("asked", [("then", "", "skip"), ("²", "", "skip"), ("now", "-1", "skip"), ("now", "", "?")])
def test_whence_that_makes_no_sense_is_refused(asked: tuple[str, str, str]) -> None:
    with pytest.raises(ConfigError, match=r"(start|end|slow) is"):
        Whence.parse(*asked)


def test_an_expression_that_does_not_parse_is_refused(source: Source, pool: ThreadPoolExecutor) -> None:
    async def test() -> None:
        with pytest.raises(ExpressionError):
            await source.session.feeds.join(source.session, Wanted.parse("src_prt == 1", [], "arrow"), pool)

    run(test)
