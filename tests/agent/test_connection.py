"""The agent and a hub that misbehaves: real agent, real socket. Nothing is lost or doubled, and the agent says why."""

import asyncio
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from aishark_panel.agent import connection, intime, outbox
from aishark_panel.agent.connection import LinkOptions
from aishark_panel.agent.spool import Spool
from aishark_panel.agent.tally import PARTS
from aishark_panel.errors import HubUnreachableError, NotAuthorizedError, ProtocolError
from aishark_panel.wire.frames import Frames
from aishark_panel.wire.messages import Batch
from tests.agent.hub_double import HubDouble, Link, NumberedSource, agent_config, running, until


@pytest.fixture(autouse=True)
def quiet_tornado() -> Iterator[None]:
    """What the hub's side complains of is not the agent's."""
    logger = logging.getLogger("tornado")
    before, logger.disabled = logger.disabled, True
    yield
    logger.disabled = before


def ack(taken: int, durable: int) -> str:
    return json.dumps({"type": "ack", "taken": taken, "durable": durable})


def all_add_up(hub: HubDouble) -> bool:
    return all(c["captured"] == sum(c[name] for name in PARTS) for c in hub.counters)


NONSENSE = [
    "",
    "{",
    "[]",
    '{"type": "who?"}',
    '{"type": "ack", "taken": "many"}',
    '{"type": "welcome", "protocol": 1, "session": "s", "next_sequence": 1, "window_bytes": 1}',
    ack(10**9, 0),
    ack(0, 10**9),
    '{"type": "start", "snaplen": -1}',
    b"\xff\xfe\x00",
    "x" * 300_000,
    "[" * 100_000,
]


@pytest.mark.parametrize("said", NONSENSE, ids=lambda s: repr(s[:12]))
def test_a_hub_that_talks_nonsense_costs_an_agent_with_a_spool_nothing(said: str | bytes, tmp_path: Path) -> None:
    async def run() -> None:
        hub = HubDouble()
        hub.welcomed = lambda link: link.say(said) if hub.connections <= 3 else None
        source = NumberedSource(stop_at=2_000)
        async with running(agent_config(hub.url, tmp_path), source):
            await until(lambda: len(hub.numbers) == 2_000, "all packets")
        assert hub.connections > 3
        assert hub.numbers == list(range(2_000))
        assert all_add_up(hub)
        await hub.close()

    asyncio.run(run())


def test_without_a_spool_nonsense_ends_the_agent_with_the_reason() -> None:
    async def run() -> None:
        hub = HubDouble()
        hub.welcomed = lambda link: link.say("{")
        async with running(agent_config(hub.url), NumberedSource()) as (_, task):
            with pytest.raises(ProtocolError, match="not understood"):
                await asyncio.wait_for(task, 10)
        await hub.close()

    asyncio.run(run())


@pytest.mark.parametrize("following", [1, 10**6])
def test_a_hub_that_takes_the_run_for_another_is_told_from_one_that_knows_less(tmp_path: Path, following: int) -> None:
    async def run() -> None:
        hub = HubDouble()
        source = NumberedSource(stop_at=500)
        async with running(agent_config(hub.url, tmp_path), source) as (agent, _):
            await until(lambda: len(hub.numbers) == 500 and agent.counters()["delivered"] == 500, "all packets")
            hub.next_sequence = following
            hub.links[0].cut()
            await until(lambda: "takes this run for another" in agent._connection.reason, "the reason")
            assert f"wants batch {following}" in agent._connection.reason
            source.stop_at = 1_000
            await until(lambda: source.made == 1_000, "capture goes on")
            assert agent.counters()["delivered"] == 500
            hub.next_sequence = None
            await until(lambda: len(hub.numbers) == 1_000, "the rest")
        assert hub.numbers == list(range(1_000))
        await hub.close()

    asyncio.run(run())


def test_a_hub_that_forgot_the_run_gets_what_it_was_not_promised(tmp_path: Path) -> None:
    async def run() -> None:
        hub = HubDouble()
        source = NumberedSource(stop_at=500)
        async with running(agent_config(hub.url, tmp_path), source) as (agent, _):
            await until(lambda: agent.counters()["delivered"] == 500, "all packets")
            await hub.close()
            source.stop_at = 900
            await until(lambda: source.made == 900, "capture goes on")
            other = HubDouble(hub.port)
            await until(lambda: len(other.numbers) == 400, "the rest")
            assert other.numbers == list(range(500, 900))
            assert other.hellos[0].counters["delivered"] == 500
            assert all_add_up(other)
        await other.close()

    asyncio.run(run())


def test_a_hub_that_closes_in_the_middle_of_batches_gets_each_once(tmp_path: Path) -> None:
    async def run() -> None:
        hub = HubDouble()
        hub.keeps_up = False

        async def cut(link: Link) -> None:
            if hub.connections < 20 and hub.taken % 3 == 2:
                hub.durable = max(hub.durable, hub.taken - 2)
                link.cut()

        hub.before_batch = cut
        async with running(agent_config(hub.url, tmp_path), NumberedSource(stop_at=3_000)) as (agent, _):
            await until(lambda: len(hub.numbers) == 3_000, "all packets")
            assert agent.counters()["delivered"] < 3_000
            hub.make_durable()
            await until(lambda: agent.counters()["delivered"] == 3_000, "all durable")
        assert hub.connections > 5  # how often depends on how many batches the load makes of them
        assert hub.numbers == list(range(3_000))
        assert all_add_up(hub)
        await hub.close()

    asyncio.run(run())


def test_a_hub_that_stops_reading_is_left_and_met_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(connection, "HEARTBEAT_S", 0.05)
    monkeypatch.setattr(connection, "DEAD_AFTER_S", 0.3)

    async def run() -> None:
        hub = HubDouble()
        stuck = asyncio.Event()

        async def stop(_: Link) -> None:
            if hub.connections == 1 and hub.taken == 5:
                await stuck.wait()
                raise asyncio.CancelledError

        hub.before_batch = stop
        async with running(agent_config(hub.url, tmp_path), NumberedSource(stop_at=5_000)):
            await until(lambda: len(hub.numbers) == 5_000, "all packets")
        assert hub.connections == 2
        assert hub.numbers == list(range(5_000))
        stuck.set()
        await hub.close()

    asyncio.run(run())


def test_a_key_that_is_taken_back_stops_no_capture_with_a_spool(tmp_path: Path) -> None:
    async def run() -> None:
        hub = HubDouble()
        source = NumberedSource(stop_at=500)
        async with running(agent_config(hub.url, tmp_path), source) as (agent, _):
            await until(lambda: len(hub.numbers) == 500, "first packets")
            hub.refuses = True
            hub.links[0].close(1008, "the key of this agent was revoked")
            await until(lambda: "refused the token" in agent._connection.reason, "the reason")
            source.stop_at = 1_500
            await until(lambda: agent.counters()["spooled"] > 0 and source.made == 1_500, "spooled packets")
            hub.refuses = False
            await until(lambda: len(hub.numbers) == 1_500, "the rest")
            assert agent._connection.reason == ""
        assert hub.numbers == list(range(1_500))
        await hub.close()

    asyncio.run(run())


@pytest.mark.parametrize("known", [False, True])
def test_without_a_spool_a_refused_key_ends_the_agent(known: bool) -> None:
    async def run() -> None:
        hub = HubDouble()
        hub.refuses = not known
        async with running(agent_config(hub.url), NumberedSource()) as (_, task):
            if known:
                await until(lambda: hub.numbers, "first packets")
                hub.refuses = True
                hub.links[0].cut()
            with pytest.raises(NotAuthorizedError, match="refused the token"):
                await asyncio.wait_for(task, 10)
        await hub.close()

    asyncio.run(run())


@pytest.mark.parametrize("spool_after_s", [60.0, 0.0], ids=["in memory", "spooled"])
def test_a_batch_that_is_refused_for_good_is_given_up_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spool_after_s: float
) -> None:
    monkeypatch.setattr(outbox, "SPOOL_AFTER_S", spool_after_s)
    wrong: list[int] = []

    def refuse(batch: Batch) -> bool:
        taken = batch.content()
        assert isinstance(taken, Frames)
        numbers = [int.from_bytes(taken.frame(i)[42:50], "big") for i in range(len(taken))]
        if batch.sequence == 5 and numbers:
            wrong[:] = numbers
        return batch.sequence == 5 and bool(numbers)

    async def run() -> None:
        hub = HubDouble()
        hub.keeps_up = False  # so the agent has to keep all it sent
        hub.refused_batch = refuse
        source = NumberedSource(stop_at=2_000)
        async with running(agent_config(hub.url, tmp_path), source) as (agent, _):
            await until(lambda: len(wrong) and len(hub.numbers) == 2_000 - len(wrong), "all but one batch")
            refusals = hub.refusals  # of which the agent heard three in words; a broken line may cost some
            assert refusals >= connection.MAX_REFUSALS
            assert agent.counters()["dropped_refused"] == len(wrong)
        assert hub.numbers == [number for number in range(2_000) if number not in wrong]
        assert all_add_up(hub)

        hub.links.clear()  # another life of the agent; the hub was killed, and has nothing but what was durable
        hub.numbers.clear()
        hub.taken = hub.durable
        async with running(agent_config(hub.url, tmp_path), NumberedSource(first=2_000, stop_at=2_500)) as (agent, _):
            await until(lambda: len(hub.numbers) == 2_500 - len(wrong), "all packets again")
            assert (agent.counters()["dropped_refused"], agent.counters()["lost_in_agent_crash"]) == (len(wrong), 0)
            hub.make_durable()
            await until(lambda: agent.counters()["delivered"] == 2_500 - len(wrong), "all durable")
        assert hub.numbers == [number for number in range(2_500) if number not in wrong]
        assert hub.refusals == refusals
        assert len({hello.run for hello in hub.hellos}) == 1
        assert all_add_up(hub)
        await hub.close()

    asyncio.run(run())


def test_only_what_is_durable_is_forgotten(tmp_path: Path) -> None:
    async def run() -> None:
        hub = HubDouble()
        hub.keeps_up = False
        async with running(agent_config(hub.url), NumberedSource(stop_at=1_000)) as (agent, _):
            await until(lambda: len(hub.numbers) == 1_000, "all packets")
            assert agent.counters()["outbox"] == 1_000
            hub.make_durable()
            await until(lambda: agent.counters()["delivered"] == 1_000, "all durable")
        await hub.close()

    asyncio.run(run())


def test_heartbeats_tell_round_trip_and_offset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEARTBEAT_S", 0.02)
    steps = [0]
    real: Callable[[], int] = time.time_ns
    monkeypatch.setattr("tests.agent.hub_double.time.time_ns", lambda: real() + 7_000_000_000)

    class Clock:
        monotonic, monotonic_ns = staticmethod(time.monotonic), staticmethod(time.monotonic_ns)

        @staticmethod
        def time_ns() -> int:
            return real() + steps[0]

    monkeypatch.setattr(connection, "time", Clock)

    async def run() -> None:
        hub = HubDouble()
        async with running(agent_config(hub.url), NumberedSource(stop_at=0)):
            await until(lambda: len(hub.heartbeats) > 3, "heartbeats")
            told = hub.heartbeats[-1]
            assert 0 < told.round_trip_ns < 2_000_000_000
            assert abs(told.offset_ns - 7_000_000_000) <= max(h.round_trip_ns for h in hub.heartbeats)
            steps[0] = -3_600_000_000_000  # somebody sets the agent's clock back by an hour
            at = len(hub.heartbeats)
            await until(lambda: len(hub.heartbeats) > at + 3, "heartbeats after the step")
            assert hub.connections == 1
            assert abs(hub.heartbeats[at + 2].offset_ns - 3_607_000_000_000) <= 2_000_000_000
        await hub.close()

    asyncio.run(run())


def test_a_hub_never_reached_is_given_up() -> None:
    async def run() -> None:
        hub = HubDouble()
        await hub.close()
        link = LinkOptions(reconnect_s=0.01, reconnect_max_s=0.02, max_retries=1)
        async with running(agent_config(hub.url, link=link), NumberedSource()) as (_, task):
            with pytest.raises(HubUnreachableError, match="No hub answers"):
                await asyncio.wait_for(task, 10)

    asyncio.run(run())


def test_a_disk_that_hangs_does_not_keep_the_agent_from_ending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(outbox, "SPOOL_AFTER_S", 0.0)
    monkeypatch.setattr(intime, "EXIT_S", 0.1)
    hangs, go_on = threading.Event(), threading.Event()

    def hang(*_: object) -> None:
        hangs.set()
        go_on.wait(60)
        raise OSError

    monkeypatch.setattr(Spool, "append", hang)

    async def run() -> None:
        hub = HubDouble()
        hub.keeps_up = False
        async with running(agent_config(hub.url, tmp_path), NumberedSource(stop_at=500)) as (_, task):
            await until(hangs.is_set, "the disk to hang")
            task.cancel()
            async with asyncio.timeout(10):
                await asyncio.wait([task])
        assert "the disk of the spool hangs" in caplog.text
        go_on.set()
        await hub.close()

    asyncio.run(run())


def test_times_without_capture_outlive_the_process(tmp_path: Path) -> None:
    class Interrupted(NumberedSource):
        def counters(self) -> dict[str, int]:
            return super().counters() | {"gaps": 2, "gap_ms": 700}

    async def run() -> None:
        hub = HubDouble()
        for life in (1, 2):
            source = Interrupted(stop_at=100)
            async with running(agent_config(hub.url, tmp_path), source) as (agent, _):
                expected = 2 * life
                told = agent.counters
                await until(lambda told=told, expected=expected: told().get("gaps") == expected, "the gaps")  # type: ignore[misc]
                assert agent.counters()["gap_ms"] == 700 * life
        await hub.close()

    asyncio.run(run())
