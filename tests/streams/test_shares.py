"""What one person may take of a hub, so that others find some left."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from aishark_panel.errors import ConfigError
from aishark_panel.streams.hub import Hub
from aishark_panel.streams.ingest import Ingest
from aishark_panel.streams.people import OWNER, Person
from aishark_panel.streams.recording import RecordingOptions
from aishark_panel.streams.ring import MIN_LIMIT_BYTES
from aishark_panel.streams.uploads import UploadRequest

ANN = Person(name="ann", capabilities=frozenset(("view", "capture")))
BOB = Person(name="bob", capabilities=frozenset(("view",)))


@pytest.fixture(autouse=True)
def small_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aishark_panel.streams.sessions.MAX_SESSIONS_EACH", 2)
    monkeypatch.setattr("aishark_panel.streams.uploads.MAX_UPLOADS_EACH", 2)
    monkeypatch.setattr("aishark_panel.streams.recorder.MAX_RUNNING_EACH", 2)


def no_session() -> Ingest:
    raise NotImplementedError


def on_a_hub(folder: Path, story: Callable[[Hub], Awaitable[None]]) -> None:
    async def run() -> None:
        hub = Hub("token", ring_bytes=MIN_LIMIT_BYTES, recordings=folder / "recordings")
        try:
            await story(hub)
        finally:
            await hub.close()

    asyncio.run(run())


def test_sessions(tmp_path: Path) -> None:
    async def story(hub: Hub) -> None:
        first = hub.sessions.create("1", "ann")
        hub.sessions.create("2", "ann")
        with pytest.raises(ConfigError, match="the most of one person"):
            hub.sessions.open("", "3", "ann")
        assert hub.sessions.open("", "2", "ann").name == "2"
        for name in "123":
            hub.sessions.create(name, "")
        hub.sessions.create("1", "bob")
        await hub.delete(first.id, ANN)
        hub.sessions.create("3", "ann")

    on_a_hub(tmp_path, story)


def test_uploads(tmp_path: Path) -> None:
    async def story(hub: Hub) -> None:
        async def begin(owner: str, size: int = 9) -> str:
            upload = await hub.uploads.create(UploadRequest(name="a.pcap", size=size), owner, no_session)
            return upload.id

        empty = await begin("ann", size=0)  # no capture: it fails, and makes room
        reading = hub.uploads.find(empty, ANN).task
        assert reading
        await reading
        first = await begin("ann")
        await begin("ann")
        with pytest.raises(ConfigError, match="the most of one person"):
            await begin("ann")
        for owner in ("bob", "", "", ""):
            await begin(owner)
        await hub.uploads.delete(hub.uploads.find(first, ANN))
        await begin("ann")

    on_a_hub(tmp_path, story)


def test_recordings(tmp_path: Path) -> None:
    async def story(hub: Hub) -> None:
        session = hub.sessions.create("1", "ann")
        first = await hub.recorder.start(session, RecordingOptions())
        folders = [hub.recorder.recordings(session, person)[0]["folder"] for person in (ANN, OWNER, BOB)]
        assert folders == [str(hub.recorder.folder)] * 2 + [""]  # BOB may only look
        await hub.recorder.start(session, RecordingOptions())
        with pytest.raises(ConfigError, match="the most of one person"):
            await hub.recorder.start(session, RecordingOptions())
        for owner in ("bob", "", "", ""):
            await hub.recorder.start(hub.sessions.create("1", owner), RecordingOptions())
        await hub.recorder.stop(session, first["id"])
        await hub.recorder.start(session, RecordingOptions())

    on_a_hub(tmp_path, story)
