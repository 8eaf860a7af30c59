"""Uploads over a bad line, and bounds on them: every byte arrives once, and the hub holds no more than a few chunks."""

import asyncio
import base64
import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from aishark_panel.client import HubClient
from aishark_panel.embedded import EmbeddedHub, start_hub
from aishark_panel.errors import ConfigError
from aishark_panel.streams import uploads
from aishark_panel.streams.people import OWNER
from aishark_panel.wire.pcapwrite import PcapWriter
from tests.integration.conftest import ask, call, wait_until_ready
from tests.integration.test_fuzz_sockets import private_mib
from tests.integration.test_upload import BreakingLine, begin, send, upload
from tests.traffic import frames

MIB = 2**20


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedHub]:
    recordings = tmp_path_factory.mktemp("hub") / "recordings"
    started = start_hub("--port", "0", "--ring-mib", "48", "--recordings", str(recordings), "--max-upload-mib", "64")
    wait_until_ready(started)
    yield started
    started.close()


def test_a_line_that_breaks_within_every_chunk_still_brings_the_file(hub: EmbeddedHub, tmp_path: Path) -> None:
    path = tmp_path / "LONG WAY.PCAP"
    writer = PcapWriter(link_type=1)
    path.write_bytes(writer.header() + writer.frames(frames(30_000, size=1_000)))
    before_mib = private_mib(hub)
    line = BreakingLine(hub, after_bytes=300_000, times=40)  # a whole chunk has a megabyte
    offsets: list[int] = []
    try:
        client = HubClient(line.url, hub.token)
        status = asyncio.run(client.upload(path, lambda s: offsets.append(s["offset"])))
    finally:
        line.close()
    assert line.breaks_left < 40
    assert (status["state"], status["packets"], status["warning"]) == ("done", 30_000, "")
    assert offsets == sorted(offsets)
    assert private_mib(hub) < before_mib + 48 + 32  # the new session's ring, and chunks


@pytest.mark.parametrize("name", ["UPPER.PCAP", "UPPER.PCAPNG", "Mixed.PcapNg"])
def test_names_may_be_in_capitals(hub: EmbeddedHub, capture_file: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(capture_file.read_bytes())
    assert upload(hub, path)["packets"] == 10_000


def test_a_chunk_that_came_damaged_is_not_kept(hub: EmbeddedHub) -> None:
    place = begin(hub, 100)
    digest = base64.b64encode(hashlib.sha256(b"good").digest()).decode()
    status, headers, answer = send(hub, "PATCH", place, b"g00d", Upload_Offset="0", Upload_Checksum=f"sha256 {digest}")
    assert (status, headers["Upload-Offset"]) == (409, "0")
    assert "damaged" in answer["error"]["message"]
    assert send(hub, "PATCH", place, b"good", Upload_Offset="0", Upload_Checksum="md5 x")[0] == 400
    answer = send(hub, "PATCH", place, b"good", Upload_Offset="0", Upload_Checksum=f"sha256 {digest}")[2]
    assert answer["offset"] == 4
    assert send(hub, "DELETE", place)[0] == 204


def test_the_newest_request_of_an_upload_counts_and_nothing_is_mixed(hub: EmbeddedHub) -> None:
    place = begin(hub, 10)

    async def run() -> bytes:
        host, port = hub.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        head = f"PATCH {place} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {hub.token}\r\n"
        writer.write(f"{head}Upload-Offset: 0\r\nContent-Length: 10\r\n\r\nhalf".encode())
        await writer.drain()
        await asyncio.to_thread(send, hub, "GET", place)
        answer = await asyncio.to_thread(lambda: send(hub, "PATCH", place, b"other", Upload_Offset="0"))
        assert answer[2]["offset"] == 5
        async with asyncio.timeout(10):
            rest = await reader.read()
        writer.close()
        return rest

    assert asyncio.run(run()) == b""
    assert send(hub, "GET", place)[2]["offset"] == 5
    assert send(hub, "DELETE", place)[0] == 204


def test_one_person_has_so_many_bytes_on_their_way(hub: EmbeddedHub) -> None:
    issued = ask(hub, lambda c: c.token_issue("ann", ["view", "capture"], 600))
    ann = EmbeddedHub(hub.url, issued["token"], hub.process)
    places = [begin(ann, 60 * MIB), begin(ann, 60 * MIB)]
    status, body = call(ann, "POST", "/api/uploads", {"name": "more", "size": 9 * MIB})
    assert status == 400
    assert "the most of one person" in json.loads(body)["error"]["message"]
    assert send(ann, "DELETE", places.pop())[0] == 204
    places.append(begin(ann, 9 * MIB))
    for place in places:
        assert send(ann, "DELETE", place)[0] == 204


def test_what_was_announced_is_reserved_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def disk_usage(_folder: Path) -> SimpleNamespace:
        return SimpleNamespace(free=100 * MIB + uploads.KEEP_FREE_BYTES)

    monkeypatch.setattr("shutil.disk_usage", disk_usage)

    async def run() -> None:
        with ThreadPoolExecutor(1) as pool:
            store = uploads.Uploads(tmp_path / "uploads", pool)

            async def announce(size: int) -> uploads.Upload:
                request = uploads.UploadRequest(name="x", size=size)
                return await store.create(request, OWNER.name, lambda: pytest.fail("nothing is read"))

            first = await announce(60 * MIB)
            with pytest.raises(ConfigError, match=r"has 41,943,040 left for it"):
                await announce(50 * MIB)
            await store.delete(first)
            await announce(50 * MIB)
            await store.close()

    asyncio.run(run())
