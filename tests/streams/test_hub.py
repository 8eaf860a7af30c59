"""The hub without sockets: how it ends."""

import asyncio
from pathlib import Path

import pytest

from aishark_panel.streams.hub import Hub
from aishark_panel.streams.ring import MIN_LIMIT_BYTES


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
