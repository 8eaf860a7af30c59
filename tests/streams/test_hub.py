"""The hub without sockets: how it ends, and how it begins again."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
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
        hub.create_session("first", "")
        asyncio.get_running_loop().call_soon(hub.create_session, "late", "")
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
    def refuse(self, reason: str) -> None: ...


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
            assert link.session.recovering
            await until(lambda: not link.session.recovering)
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
            (line,) = hub.sessions(OWNER)
            ingest = hub.upload_target("", line["id"], OWNER)
            assert ingest.session.recovering
            await hub.delete(line["id"], OWNER)
            assert hub.journal
            assert hub.journal._is_up

    asyncio.run(run())
