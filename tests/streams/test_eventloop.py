"""What waits for the disk, or takes its time, does so on other threads than the hub's event loop."""

import asyncio
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from aishark_panel.streams import recording
from aishark_panel.streams.hub import Hub
from aishark_panel.streams.journal import Journal
from aishark_panel.streams.people import OWNER
from aishark_panel.streams.recording import RecordingOptions
from aishark_panel.streams.ring import MIN_LIMIT_BYTES
from aishark_panel.streams.store import Store
from aishark_panel.streams.uploads import UploadRequest
from tests.traffic import frames, hello


def test_nothing_waits_for_the_disk_on_the_event_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loops_thread = threading.current_thread()
    seen: dict[str, list[bool]] = {}

    def watch(owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def watched(*arguments: Any, **options: Any) -> Any:
            seen.setdefault(name, []).append(threading.current_thread() is loops_thread)
            return real(*arguments, **options)

        monkeypatch.setattr(owner, name, watched)

    async def story() -> None:
        hub = Hub(
            "token",
            ring_bytes=MIN_LIMIT_BYTES,
            store=Store(tmp_path / "state"),
            recordings=tmp_path / "recordings",
            journal=Journal(tmp_path / "journal"),
        )
        session = hub.sessions.create("1", "")
        session.ingest(session.runs.attach(hello()), frames(10), 1, {})
        for owner, name in ((os, "fsync"), (os, "fdatasync"), (Path, "unlink"), (Path, "rename")):
            watch(owner, name)
        watch(recording, "compile_expression")
        status = await hub.recorder.start(session, RecordingOptions(where="udp"))
        await hub.recorder.stop(session, status["id"])
        request = UploadRequest(name="a.pcap", size=1_000)
        upload = await hub.uploads.create(request, "", lambda: hub.sessions.upload_target("a", None, OWNER))
        await hub.uploads.delete(upload)
        await hub.delete(session.id, OWNER)
        on_loop = {name for name, where in seen.items() if any(where)}
        monkeypatch.undo()
        await hub.close()
        assert on_loop == set()
        assert {"fsync", "unlink", "compile_expression"} <= seen.keys()

    asyncio.run(story())
