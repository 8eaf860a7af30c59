"""One agent over its lives and in want of room: real threads, real socket, real disk. Every packet is accounted for."""

import asyncio
import errno
import time
from pathlib import Path

import pytest

from aishark_panel.agent import outbox, runner, thinning
from aishark_panel.agent.encode import BatchLimits
from aishark_panel.agent.run import open_run
from aishark_panel.agent.runner import Agent
from aishark_panel.agent.spool import Spool
from aishark_panel.agent.tally import PARTS
from aishark_panel.errors import CaptureError
from tests.agent.hub_double import FailingSource, HubDouble, Link, NumberedSource, agent_config, running, until


def assert_adds_up(*tellings: dict[str, int]) -> None:
    for counts in tellings:
        assert counts["captured"] == sum(counts[name] for name in PARTS), counts


def segments(folder: Path) -> list[Path]:
    return list(folder.glob("*.segment"))


def test_what_a_stopped_agent_spooled_its_next_life_delivers(tmp_path: Path) -> None:
    async def run() -> None:
        hub = HubDouble()
        async with running(agent_config(hub.url, tmp_path), NumberedSource(stop_at=300)) as (agent, _):
            await until(lambda: agent.counters()["delivered"] == 300, "first packets")
            assert segments(tmp_path) == []  # nothing is written while the hub keeps up
        await hub.close()
        source = NumberedSource(first=300, stop_at=900)
        async with running(agent_config(hub.url, tmp_path), source) as (agent, _):  # it goes on without the hub
            await until(lambda: source.made == 900, "packets while the hub is away")
        again = HubDouble(hub.port)
        async with running(agent_config(again.url, tmp_path), NumberedSource(first=900, stop_at=1_000)) as (agent, _):
            await until(lambda: agent.counters()["delivered"] == 1_000, "everything")
            assert_adds_up(agent.counters(), *again.counters)
            assert agent.counters()["matched"] == 1_000
            assert segments(tmp_path) == []
        assert hub.numbers + again.numbers == list(range(1_000))
        hello = again.hellos[0]
        assert hello.run == hub.hellos[0].run
        assert hello.capturing
        assert 0 < hello.down_since_ns < hello.down_until_ns <= time.time_ns()
        assert (hub.hellos[0].down_since_ns, hub.hellos[0].down_until_ns) == (0, 0)
        await again.close()

    asyncio.run(run())


def test_without_a_spool_the_hub_is_given_time_to_take_the_rest() -> None:
    async def run() -> None:
        hub = HubDouble()
        hub.keeps_up = False
        source = NumberedSource(stop_at=1_000)
        async with running(agent_config(hub.url), source) as (agent, task):
            await until(lambda: len(hub.numbers) >= 100, "first packets")
            task.cancel()
            asyncio.get_running_loop().call_later(0.3, hub.make_durable)
            hub.keeps_up = True
        counts = agent.counters()
        assert counts["delivered"] == counts["captured"] == source.made
        assert hub.numbers == list(range(source.made))
        await hub.close()

    asyncio.run(run())


def test_without_a_spool_what_is_lost_at_the_end_is_counted_and_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(runner, "DRAIN_S", 0.2)

    async def run() -> None:
        hub = HubDouble()

        async def hang(_: Link) -> None:
            await asyncio.sleep(1)

        hub.before_batch = hang
        source = NumberedSource(stop_at=200)
        async with running(agent_config(hub.url), source) as (agent, _):
            await until(lambda: hub.hellos and source.made == 200, "all packets")
        assert_adds_up(agent.counters())
        assert agent.counters()["dropped_at_exit"] == 200
        assert "200 packets that the hub did not take in time are lost" in caplog.text
        await hub.close()

    asyncio.run(run())


def test_a_hub_that_reads_at_a_hundredth_of_the_rate(tmp_path: Path) -> None:
    limit = 200_000

    async def run() -> None:
        hub = HubDouble()
        fullest = 0

        async def slow(_: Link) -> None:
            await asyncio.sleep(0.1)

        hub.before_batch = slow
        source = NumberedSource(rows=50, pause_s=0.001)
        config = agent_config(hub.url, tmp_path, outbox_bytes=limit, spool_bytes=1_000_000)
        async with running(config, source) as (agent, _):

            def lost() -> int:
                nonlocal fullest
                fullest = max(fullest, agent._outbox.size_bytes)
                return agent.counters()["dropped_outbox_full"]

            await until(lambda: lost() > 5_000, "packets that have no room", 60)
            counts = agent.counters()
            assert counts["delivered"] < counts["captured"] / 5
            assert counts["spooled"] > 0
            source.stop_at = 0
            hub.before_batch = None
            await until(
                lambda: agent.counters()["delivered"] + lost() == agent.counters()["captured"], "a drained agent"
            )
            counts = agent.counters()
        assert_adds_up(counts, *hub.counters)
        assert fullest <= limit + 10_000  # one batch more
        assert counts["captured"] == source.made == counts["matched"]
        assert counts["delivered"] == len(hub.numbers)
        assert hub.numbers == sorted(set(hub.numbers))
        assert max(told["dropped_outbox_full"] for told in hub.counters) > 0
        await hub.close()

    asyncio.run(run())


def test_a_full_outbox_thins_out_where_it_is_told_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thinning, "_THIN_EVERY_S", 0.05)
    monkeypatch.setattr(thinning, "_RELAX_EVERY_S", 0.05)

    async def run() -> None:
        hub = HubDouble()
        hub.keeps_up = False
        source = NumberedSource()
        config = agent_config(hub.url, outbox_bytes=100_000, on_overload="sample")
        async with running(config, source) as (agent, _):
            await until(lambda: any(state.sampling >= 8 for state in hub.states), "a thinned capture")
            assert agent.counters()["sampled_out"] > 0
            hub.keeps_up = True
            hub.make_durable()
            await until(lambda: hub.states[-1].sampling == 1, "a whole capture")
            source.stop_at = 0
            await until(lambda: agent.counters()["delivered"] == len(hub.numbers), "a drained agent")
            assert_adds_up(agent.counters(), *hub.counters)
        await hub.close()

    asyncio.run(run())


def test_a_disk_that_is_full_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(outbox, "_RETRY_S", 0.05)
    real = Spool.append
    full = [True]

    def append(spool: Spool, number: int, envelope: bytes, rows: int) -> None:
        if full[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(spool, number, envelope, rows)

    monkeypatch.setattr(Spool, "append", append)

    async def run() -> None:
        hub = HubDouble()
        hub.keeps_up = False
        source = NumberedSource()
        async with running(agent_config(hub.url, tmp_path, outbox_bytes=100_000), source) as (agent, _):
            await until(lambda: agent.counters()["dropped_outbox_full"] > 0, "packets that have no room")
            assert "No space left" in agent._outbox.trouble
            assert caplog.text.count("the spool cannot be written") == 1
            full[0] = False
            await until(lambda: agent.counters()["spooled"] > 0, "spooled packets")
            assert agent._outbox.trouble == ""
            source.stop_at = 0
            hub.keeps_up = True
            hub.make_durable()
            await until(
                lambda: agent.counters()["delivered"] + agent.counters()["dropped_outbox_full"] == source.made,
                "the rest",
            )
            assert_adds_up(agent.counters(), *hub.counters)
            assert agent.counters()["delivered"] == len(hub.numbers)
        await hub.close()

    asyncio.run(run())


@pytest.mark.parametrize("kept", [True, False])
def test_interfaces_of_an_earlier_life_keep_their_places_while_its_packets_wait(tmp_path: Path, kept: bool) -> None:
    async def run() -> None:
        hub = HubDouble()
        hub.keeps_up = not kept
        async with running(agent_config(hub.url, tmp_path), NumberedSource(stop_at=20)) as (agent, _):
            await until(lambda: hub.numbers and (kept or agent.counters()["delivered"] == 20), "packets")
        source = NumberedSource(first=20, stop_at=40)
        source.interfaces = [type(source.interfaces[0])("wg0", 101, 100)]
        async with running(agent_config(hub.url, tmp_path), source):
            await until(lambda: len(hub.numbers) == 40, "packets of the other interface")
        told = [(i.name, i.link_type) for i in hub.hellos[-1].interfaces]
        assert told == [("eth0", 1), ("wg0", 101)][not kept :]
        await hub.close()

    asyncio.run(run())


def test_an_agent_whose_source_does_not_open_leaves_the_folder_free(tmp_path: Path) -> None:
    def fail(_: object) -> NumberedSource:
        raise RuntimeError("no such interface")

    with pytest.raises(RuntimeError):
        Agent(agent_config("http://127.0.0.1:9", tmp_path), fail)
    open_run(tmp_path, "http://127.0.0.1:9", "").close()


def test_what_a_source_gave_before_it_failed_is_delivered() -> None:
    async def run() -> None:
        hub = HubDouble()
        limits = BatchLimits(max_rows=50, max_age_s=10.0)
        agent = Agent(agent_config(hub.url, limits=limits), lambda _: FailingSource(stop_at=120))
        with pytest.raises(CaptureError, match="the device is gone"):
            await agent.run()
        assert hub.numbers == list(range(120))
        assert_adds_up(agent.counters())
        assert agent.counters()["delivered"] == agent.counters()["matched"] == 120
        await hub.close()

    asyncio.run(run())


def test_what_the_hub_has_in_memory_is_not_lost_with_an_agent_without_a_spool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "DRAIN_S", 0.2)

    async def run() -> None:
        hub = HubDouble()
        hub.keeps_up = False  # its journal's disk is full, say
        async with running(agent_config(hub.url), NumberedSource(stop_at=200)) as (agent, _):
            await until(lambda: len(hub.numbers) == 200, "all packets")
            await until(lambda: agent._connection.taken == hub.taken, "its acknowledgement")
        assert_adds_up(agent.counters())
        assert (agent.counters()["delivered"], agent.counters()["dropped_at_exit"]) == (200, 0)
        await hub.close()

    asyncio.run(run())
