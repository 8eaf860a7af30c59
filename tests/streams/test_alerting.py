"""What the hub does about alerts where something is in the way."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from aishark_panel.streams import alerting as module
from aishark_panel.streams.alerting import Alerting
from aishark_panel.streams.ring import MIN_LIMIT_BYTES
from aishark_panel.streams.session import Session
from aishark_panel.wire.frames import Frames
from tests.alerts.blocks import one_rule
from tests.traffic import START_NS, hello, udp_frame


@contextlib.asynccontextmanager
async def watching(folder: Path | None, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Alerting, list[int]]]:
    """At work, and the numbers of alerts that were told."""
    monkeypatch.setattr(module, "_PERIOD_S", 0.01)
    monkeypatch.setattr(module, "_EVIDENCE_PERIOD_S", 0.01)
    monkeypatch.setattr(module, "_RETRY_S", 0.05)
    told: list[int] = []
    with ThreadPoolExecutor(1) as ingest_pool, ThreadPoolExecutor(2) as disk_pool:
        alerting = Alerting(ingest_pool, disk_pool, None, folder)
        monkeypatch.setattr(alerting, "_tell", lambda session, alert: told.append(alert["number"]))
        tasks = [asyncio.create_task(alerting.watch()), asyncio.create_task(alerting.make_evidence())]
        yield alerting, told
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await alerting.close()


def watched(session_id: str = "0a") -> Session:
    return Session(session_id, "watched", ring_bytes=MIN_LIMIT_BYTES, rules=[one_rule(by="[src_ip]", over="1s")])


def fire(session: Session, host: str) -> None:
    """An alert, and the end of it."""
    run = session.runs.attach(hello())
    at_ns = max(START_NS, session.last_ts) + 10**9
    content = [udp_frame(host, "10.0.0.2", 1, 2, b"") for _ in range(2)]
    session.ingest(run, Frames.from_list(content, [at_ns, at_ns + 20 * 10**9]), run.taken + 1, {})


async def until(check: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not check():  # noqa: ASYNC110  (counters, that nobody announces)
            await asyncio.sleep(0.005)


def test_who_is_to_be_told_is_told_though_the_disk_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> None:
        in_the_way = tmp_path / "0a"
        in_the_way.write_text("no folder")
        async with watching(tmp_path, monkeypatch) as (alerting, told):
            session = watched()
            alerting.add(session)
            fire(session, "10.0.0.1")
            await until(lambda: told == [1, 1])
            in_the_way.unlink()
            await until((in_the_way / "alerts.jsonl").exists)
            fire(session, "10.0.0.3")
            await until(lambda: len(told) >= 3)
        again = watched()
        alerting = Alerting(ThreadPoolExecutor(1), ThreadPoolExecutor(1), None, tmp_path)
        alerting.add(again)
        assert again.alerts.to_keep(0).numbers == session.alerts.to_keep(0).numbers
        await alerting.close()

    asyncio.run(run())
    assert caplog.text.count("are not kept") == 1


def test_a_sessions_fault_is_not_the_others(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async def run() -> None:
        async with watching(None, monkeypatch) as (alerting, told):
            broken, good = watched("0b"), watched("0c")
            monkeypatch.setattr(broken, "tick_alerts", lambda now_s: 1 / 0)
            monkeypatch.setattr(broken.alerts, "next_evidence", lambda: 1 / 0)
            for session in (broken, good):
                alerting.add(session)
            fire(good, "10.0.0.1")
            await until(lambda: told == [1, 1])
            await until(lambda: (good.alerts.alert(1)["evidence"] or {}).get("state") == "saved")
            await until(lambda: broken.condition.trouble)

    asyncio.run(run())


def test_what_is_deleted_is_not_written_any_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        async with watching(tmp_path, monkeypatch) as (alerting, told):
            session = watched()
            alerting.add(session)
            fire(session, "10.0.0.1")
            await until(lambda: told == [1, 1])
            await alerting.forget(session)
            for path in sorted((tmp_path / "0a").rglob("*"), reverse=True):
                path.rmdir() if path.is_dir() else path.unlink()
            (tmp_path / "0a").rmdir()
            fire(session, "10.0.0.2")
            session.tick_alerts(1.0)
            other = Session("0b", "other", ring_bytes=MIN_LIMIT_BYTES)
            alerting.add(other)
            await alerting.silence(other, None, None, 60, "", "ann")

    asyncio.run(run())
    assert [path.name for path in tmp_path.iterdir()] == ["0b"]
