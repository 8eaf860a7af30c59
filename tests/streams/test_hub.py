"""The hub without sockets: how it ends, and how it begins again."""

import asyncio
import contextlib
import dataclasses
import os
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import pytest

from aishark_panel.streams.agentrun import AgentRun
from aishark_panel.streams.hub import Hub
from aishark_panel.streams.journal import Journal
from aishark_panel.streams.ledger import ledger
from aishark_panel.streams.people import OWNER
from aishark_panel.streams.ring import MIN_LIMIT_BYTES
from aishark_panel.streams.store import Store
from aishark_panel.wire.messages import Batch
from tests.ledgers import identities
from tests.traffic import frames, hello


def test_a_session_that_is_made_while_the_hub_ends_does_not_keep_it_from_ending(tmp_path: Path) -> None:
    async def run() -> None:
        hub = Hub("token", ring_bytes=MIN_LIMIT_BYTES, recordings=tmp_path / "recordings")
        hub.sessions.create("first", "")
        asyncio.get_running_loop().call_soon(hub.sessions.create, "late", "")
        await hub.close()
        for pool in (hub.ingest_pool, hub.query_pool, hub.disk_pool):
            with pytest.raises(RuntimeError, match="after shutdown"):
                pool.submit(print)

    asyncio.run(run())


@dataclass(eq=False)
class Deaf:
    """An agent's connection that is told nothing."""

    run: AgentRun | None = None

    def send(self, message: str) -> None: ...
    def dismiss(self, code: int, reason: str) -> None: ...
    def acknowledge(self) -> None: ...
    def send_again(self) -> None: ...
    def refuse_batch(self, sequence: int, reason: str) -> None: ...


@contextlib.asynccontextmanager
async def journalled_hub(folder: Path) -> AsyncIterator[Hub]:
    hub = Hub(
        "token",
        ring_bytes=MIN_LIMIT_BYTES,
        store=Store(folder / "store.sqlite"),
        recordings=folder / "recordings",
        journal=Journal(folder / "journal"),
    )
    hub.start()
    try:
        yield hub
    finally:
        await hub.close()


async def until(check: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not check():  # noqa: ASYNC110  (counters, that nobody announces)
            await asyncio.sleep(0.01)


async def feed(hub: Hub, *sequences: int) -> AgentRun:
    socket = Deaf()
    link, ingest = hub.attach(hello(), socket, None, OWNER.name)
    socket.run = link.run
    for sequence in sequences:
        made = frames(100, first=100 * (sequence - 1))
        ingest.put(socket, link.run, Batch.unpack(Batch.pack(sequence, made, "none", {})))
    await until(lambda: link.run.durable == sequences[-1])
    return link.run


def test_what_a_hub_without_a_journal_lost_is_counted_once_all_is_read_back(tmp_path: Path) -> None:
    async def run() -> None:
        async with journalled_hub(tmp_path) as hub:
            await feed(hub, 1, 2, 3)
        # Meanwhile a hub without a journal got batches 4 to 9, in its memory only.
        async with journalled_hub(tmp_path) as hub:
            greeting = msgspec.structs.replace(hello(), first_sequence=10, counters={"delivered": 900})
            link, _ = hub.attach(greeting, Deaf(), None, OWNER.name)
            assert link.session.condition.recovering
            await until(lambda: not link.session.condition.recovering)
            await until(lambda: link.run.lost_in_hub_crash)
            assert (link.run.lost_in_hub_crash, link.session.lost_in_hub_crash) == (600, 600)
            assert link.session.packets == 300
            assert identities(ledger(link.session)) == []

    asyncio.run(run())


def test_a_session_that_is_deleted_while_it_is_read_back_does_not_hold_up_the_rest(tmp_path: Path) -> None:
    async def run() -> None:
        async with journalled_hub(tmp_path) as hub:
            await feed(hub, 1)
        async with journalled_hub(tmp_path) as hub:
            (line,) = hub.sessions.list(OWNER)
            ingest = hub.sessions.upload_target("", line["id"], OWNER)
            assert ingest.session.condition.recovering
            await hub.delete(line["id"], OWNER)
            assert hub.journal
            assert hub.journal._is_up

    asyncio.run(run())


def test_what_a_deleted_session_had_is_not_lost_for_the_next_hub(tmp_path: Path) -> None:
    async def run() -> None:
        async with journalled_hub(tmp_path) as hub:
            fed = await feed(hub, 1, 2, 3)
            fed.reject(4, "invalid", 100)
            fed.arrived += 100
            (line,) = hub.sessions.list(OWNER)
            await hub.delete(line["id"], OWNER)
        for _ in range(2):
            async with journalled_hub(tmp_path) as hub:
                greeting = msgspec.structs.replace(hello(), first_sequence=4, counters={"delivered": 300})
                link, _ = hub.attach(greeting, Deaf(), None, OWNER.name)
                assert (link.run.received, link.run.lost_in_hub_crash, link.run.taken_elsewhere) == (3, 0, 300)

    asyncio.run(run())


def test_a_session_whose_hub_died_while_it_was_deleted_is_not_elsewhere(tmp_path: Path) -> None:
    async def run() -> None:
        async with journalled_hub(tmp_path) as hub:
            await feed(hub, 1, 2)
            (line,) = hub.sessions.list(OWNER)
            hub._gone.add(line["id"], hub.sessions.find(line["id"], OWNER).runs)
            hub._gone.save()
        async with journalled_hub(tmp_path) as hub:
            greeting = msgspec.structs.replace(hello(), first_sequence=3, counters={"delivered": 200})
            link, _ = hub.attach(greeting, Deaf(), None, OWNER.name)
            await until(lambda: not link.session.condition.recovering)
            assert (link.run.arrived, link.run.taken_elsewhere, link.run.lost_in_hub_crash) == (200, 0, 0)

    asyncio.run(run())


@pytest.mark.parametrize(
    "content", ["{", "[]", '[{"session": 1}]', '[{"session": "a", "run": "b", "received": -1, "had": 1}]']
)
def test_a_damaged_list_of_deleted_runs_stops_no_hub(tmp_path: Path, content: str) -> None:
    async def run() -> None:
        async with journalled_hub(tmp_path):
            pass
        (tmp_path / "journal" / "gone-runs.json").write_text(content)
        async with journalled_hub(tmp_path) as hub:
            await feed(hub, 1)

    asyncio.run(run())


def test_an_agent_is_not_let_into_another_session_before_the_first_is_safe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_sync = threading.Event()
    may_sync.set()
    real = os.fdatasync
    monkeypatch.setattr(os, "fdatasync", lambda fd: (may_sync.wait(20), real(fd)))
    elsewhere = hello(session="other")

    async def run() -> None:
        async with journalled_hub(tmp_path) as hub:
            fed = await feed(hub, 1)
            assert await hub.settle(elsewhere, None, OWNER.name)
            may_sync.clear()
            (line,) = [x for x in hub.sessions.list(OWNER) if x["name"] == "live"]
            ingest, socket = hub.sessions.upload_target("", line["id"], OWNER), Deaf(fed)
            refused = dataclasses.replace(frames(7), iface=np.full(7, 9, np.uint16))
            ingest.put(socket, fed, Batch.unpack(Batch.pack(2, frames(100, first=100), "none", {})))
            ingest.put(socket, fed, Batch.unpack(Batch.pack(3, refused, "none", {})))
            ingest.put(socket, fed, Batch.unpack(Batch.pack(4, frames(100, first=300), "none", {})))
            assert fed.received == 4
            assert await hub.settle(hello(), None, OWNER.name)  # to the same session it may come back at once
            settling = asyncio.create_task(hub.settle(elsewhere, None, OWNER.name))
            await until(lambda: fed.received == fed.taken == 2)
            assert not settling.done()
            assert fed.durable == 1
            may_sync.set()
            assert await settling
            assert fed.durable == 2
            link, _ = hub.attach(elsewhere, Deaf(), None, OWNER.name)
            assert link.session.name == "other"
            assert link.run.received == 2  # the refused one comes here now, and so does the one behind it
            assert (fed.arrived, fed.rejected) == (200, {"invalid": 0})
            assert identities(ledger(hub.sessions.find(line["id"], OWNER))) == []

    asyncio.run(run())


def test_an_agent_waits_no_longer_than_it_has_to_for_a_journal_that_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aishark_panel.streams.hub.SETTLE_S", 0.1)

    async def run() -> None:
        async with journalled_hub(tmp_path) as hub:
            fed = await feed(hub, 1)
            fed.received = fed.taken = 2
            assert await hub.settle(hello(session="other"), None, OWNER.name)
            fed.received = 3
            assert not await hub.settle(hello(session="other"), None, OWNER.name)

    asyncio.run(run())
