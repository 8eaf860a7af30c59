"""Uploads to a real hub: whole, in pieces, over a line that breaks, and what is no capture file at all."""

import asyncio
import contextlib
import gzip
import json
import os
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aishark_panel.client import HubClient
from aishark_panel.embedded import EmbeddedHub, start_hub
from aishark_panel.errors import ConfigError, HubError, NotAuthorizedError, NotFoundError
from aishark_panel.wire.pcapwrite import PcapWriter
from tests.integration.conftest import ask, call, wait_for, wait_until_ready
from tests.traffic import frames

N = 10_000


@pytest.fixture(scope="module")
def spool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the module's hub keeps uploads until they are read."""
    return tmp_path_factory.mktemp("hub") / "uploads"


@pytest.fixture(scope="module")
def hub(spool: Path) -> Iterator[EmbeddedHub]:
    """A hub that takes uploads of 20 MiB."""
    spool.mkdir()
    (spool / "abandoned.part").write_bytes(b"left by a hub that was killed")
    recordings = spool.with_name("recordings")
    started = start_hub("--port", "0", "--ring-mib", "48", "--recordings", str(recordings), "--max-upload-mib", "20")
    wait_until_ready(started)
    yield started
    started.close()


def upload(hub: EmbeddedHub, path: Path, **options: Any) -> dict[str, Any]:
    return asyncio.run(HubClient(hub.url, hub.token).upload(path, **options))


def test_a_file_becomes_a_session_of_its_name(hub: EmbeddedHub, spool: Path, capture_file: Path) -> None:
    seen: list[dict[str, Any]] = []
    status = upload(hub, capture_file, progress=seen.append)
    assert (status["state"], status["progress"], status["warning"]) == ("done", 1.0, "")
    assert status["packets"] == N
    stats = ask(hub, lambda c: c.stats(status["session"]))
    assert (stats["name"], stats["source"], stats["state"]) == ("numbered.pcap", "replay", "ended")
    assert (stats["packets"], stats["agents"][0]["name"]) == (N, "upload")
    assert stats["reason"] == "The whole of numbered.pcap was read."
    packet = ask(hub, lambda c: c.packet(status["session"], N))
    assert packet["frame"] == frames(N).frame(N - 1)
    assert packet["iface"] == "numbered.pcap"
    assert [s["offset"] for s in seen] == sorted(s["offset"] for s in seen)
    assert seen[0]["state"] == "receiving"
    assert list(spool.iterdir()) == []


def test_a_packed_file_is_unpacked(hub: EmbeddedHub, tmp_path: Path, capture_file: Path) -> None:
    packed = tmp_path / "packed.pcap.gz"
    packed.write_bytes(gzip.compress(capture_file.read_bytes()))
    assert upload(hub, packed)["packets"] == N


def test_a_file_can_be_added_to_a_session(hub: EmbeddedHub, capture_file: Path) -> None:
    first = upload(hub, capture_file)
    second = upload(hub, capture_file, session=first["session"])
    assert second["session"] == first["session"]
    assert ask(hub, lambda c: c.stats(first["session"]))["packets"] == 2 * N
    with pytest.raises(NotFoundError, match="no session '0123'"):
        upload(hub, capture_file, session="0123")


def test_of_a_file_longer_than_the_ring_the_newest_packets_are_kept(hub: EmbeddedHub, tmp_path: Path) -> None:
    path = tmp_path / "long.pcap"
    writer = PcapWriter(link_type=1)
    path.write_bytes(writer.header() + writer.frames(frames(180_000, size=4)))
    status = upload(hub, path)
    stats = ask(hub, lambda c: c.stats(status["session"]))
    assert stats["packets"] == 180_000
    assert stats["evicted"] > 0
    assert stats["ring_bytes"] <= stats["ring_limit_bytes"]


def test_a_cut_file_gives_what_is_whole_and_a_warning(hub: EmbeddedHub, tmp_path: Path, capture_file: Path) -> None:
    path = tmp_path / "cut.pcap"
    path.write_bytes(capture_file.read_bytes()[:-10])
    status = upload(hub, path)
    assert (status["state"], status["packets"]) == ("done", N - 1)
    assert "in the middle of packet" in status["warning"]
    assert ask(hub, lambda c: c.stats(status["session"]))["reason"] == status["warning"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\xff\xd8\xff\xe0 a photograph", "cannot read holiday.jpg: it is neither pcap nor pcapng"),
        (b"", "cannot read holiday.jpg: it is empty"),
        (gzip.compress(b"text", mtime=0), "neither pcap nor pcapng"),
        (b"\x1f\x8b broken", "cannot be unpacked"),
        (b"\xd4\xc3\xb2", "in the middle of its header"),
    ],
)
def test_what_is_no_capture_is_refused_in_words(
    hub: EmbeddedHub, spool: Path, tmp_path: Path, content: bytes, words: str
) -> None:
    sessions = ask(hub, lambda c: c.sessions())
    path = tmp_path / "holiday.jpg"
    path.write_bytes(content)
    with pytest.raises(HubError, match=words) as caught:
        upload(hub, path)
    assert str(spool) not in str(caught.value)
    assert ask(hub, lambda c: c.sessions()) == sessions
    assert list(spool.iterdir()) == []


def send(
    hub: EmbeddedHub, method: str, path: str, body: bytes | None = None, **headers: str
) -> tuple[int, dict[str, str], dict[str, Any]]:
    """One HTTP request: (status, headers, JSON)."""
    request = urllib.request.Request(hub.url + path, method=method, data=body)
    request.add_header("Authorization", f"Bearer {hub.token}")
    for name, value in headers.items():
        request.add_header(name.replace("_", "-"), value)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, dict(answer.headers), json.loads(answer.read() or b"{}")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, dict(error.headers), json.loads(error.read() or b"{}")


def begin(hub: EmbeddedHub, size: int, name: str = "by hand.pcap") -> str:
    status, body = call(hub, "POST", "/api/uploads", {"name": name, "size": size})
    assert status == 201
    return f"/api/uploads/{json.loads(body)['id']}"


def test_each_answer_says_which_byte_is_due(hub: EmbeddedHub, capture_file: Path) -> None:
    content = capture_file.read_bytes()
    place = begin(hub, len(content))
    status, headers, answer = send(hub, "PATCH", place, content[:1000], Upload_Offset="0")
    assert (status, headers["Upload-Offset"], answer["offset"]) == (200, "1000", 1000)
    status, headers, answer = send(hub, "PATCH", place, content[:1000], Upload_Offset="0")
    assert (status, headers["Upload-Offset"], answer["error"]["kind"]) == (409, "1000", "ConflictError")
    status, headers, _ = send(hub, "HEAD", place)
    assert (status, headers["Upload-Offset"], headers["Upload-Length"]) == (200, "1000", str(len(content)))
    status, _, answer = send(hub, "PATCH", place, content[1000:] + b"more", Upload_Offset="1000")
    assert (status, "no more" in answer["error"]["message"]) == (400, True)
    assert send(hub, "PATCH", place, content[1000:], Upload_Offset="1000")[0] == 200
    done = wait_for(lambda: finished(hub, place), "the hub to read it")
    assert (done["state"], done["packets"]) == ("done", N)
    assert send(hub, "PATCH", place, b"more", Upload_Offset=str(len(content)))[0] == 409


def finished(hub: EmbeddedHub, place: str) -> dict[str, Any] | None:
    status = send(hub, "GET", place)[2]
    return status if status["state"] in ("done", "failed") else None


def test_chunks_that_make_no_sense_are_refused_and_harm_nothing(hub: EmbeddedHub) -> None:
    place = begin(hub, 10 * 2**20)
    for offset in ("", "-1", "x", "9" * 30):
        assert send(hub, "PATCH", place, b"1", Upload_Offset=offset)[0] == 400
    status, _, answer = send(hub, "PATCH", place, bytes(8 * 2**20 + 1), Upload_Offset="0")
    assert (status, answer["error"]["message"]) == (400, "a chunk has at most 8,388,608 bytes")
    assert send(hub, "PATCH", place, bytes(8 * 2**20), Upload_Offset="0")[2]["offset"] == 8 * 2**20
    assert send(hub, "PATCH", "/api/uploads/0123", b"1", Upload_Offset="0")[0] == 404


def test_an_upload_can_be_given_up(hub: EmbeddedHub, spool: Path) -> None:
    place = begin(hub, 100)
    part = spool / f"{place.rpartition('/')[2]}.part"
    assert part.exists()
    assert part.stat().st_mode & 0o077 == 0
    assert send(hub, "DELETE", place)[0] == 204
    assert not part.exists()
    assert send(hub, "GET", place)[0] == 404


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"name": "x", "size": -1}, ">= 0"),
        ({"name": "", "size": 1}, "length >= 1"),
        ({"size": 1}, "missing required field `name`"),
        ({"name": "x", "size": 21 * 2**20}, "this hub takes at most 20,971,520 (option --max-upload-mib)"),
    ],
)
def test_files_that_cannot_be_taken_are_refused_before_a_byte_is_sent(
    hub: EmbeddedHub, body: dict[str, object], words: str
) -> None:
    status, answer = call(hub, "POST", "/api/uploads", body)
    assert status == 400
    assert words in json.loads(answer)["error"]["message"]


def test_what_cannot_be_sent_ends_in_one_sentence(hub: EmbeddedHub, tmp_path: Path, capture_file: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*nowhere.pcap: No such file"):
        upload(hub, tmp_path / "nowhere.pcap")
    with pytest.raises(ConfigError, match="Is a directory"):
        upload(hub, tmp_path)
    with pytest.raises(NotAuthorizedError):
        asyncio.run(HubClient(hub.url, "wrong").upload(capture_file))


def test_what_a_killed_hub_had_received_is_removed(hub: EmbeddedHub, spool: Path) -> None:
    wait_for(lambda: not (spool / "abandoned.part").exists(), "the spool to be tidied up")


class BreakingLine:
    """A TCP relay that breaks each of its first connections after so many bytes towards the hub."""

    def __init__(self, hub: EmbeddedHub, *, after_bytes: int, times: int) -> None:
        self._target = int(hub.url.rpartition(":")[2])
        self._after_bytes = after_bytes
        self.breaks_left = times
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._target))
                threading.Thread(target=self._pump, args=(far, near, False), daemon=True).start()
                threading.Thread(target=self._pump, args=(near, far, True), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, breaks: bool) -> None:
        passed = 0
        with contextlib.suppress(OSError), source, sink:
            while data := source.recv(65_536):
                passed += len(data)
                if breaks and self.breaks_left and passed > self._after_bytes:
                    self.breaks_left -= 1
                    for each in (source, sink):
                        each.shutdown(socket.SHUT_RDWR)
                    return
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


def test_sending_goes_on_where_a_line_broke(hub: EmbeddedHub, tmp_path: Path) -> None:
    path = tmp_path / "long way.pcap"
    writer = PcapWriter(link_type=1)
    path.write_bytes(writer.header() + writer.frames(frames(40_000)))
    line = BreakingLine(hub, after_bytes=500_000, times=3)
    try:
        status = asyncio.run(HubClient(line.url, hub.token).upload(path))
    finally:
        line.close()
    assert line.breaks_left == 0
    assert (status["state"], status["packets"], status["warning"]) == ("done", 40_000, "")


def run_upload(hub: EmbeddedHub, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "aishark_panel", "upload", *words, "--hub", hub.url],
        env={**os.environ, "AISHARK_TOKEN": hub.token},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_upload_command(hub: EmbeddedHub, tmp_path: Path, capture_file: Path) -> None:
    done = run_upload(hub, str(capture_file))
    assert (done.returncode, done.stdout.partition(" in session ")[0]) == (0, "numbered.pcap: 10,000 packets")
    (tmp_path / "no.pcap").write_bytes(b"nothing of the kind")
    done = run_upload(hub, str(tmp_path / "no.pcap"))
    assert (done.returncode, len(done.stderr.strip().splitlines())) == (2, 1)
    assert done.stderr.startswith("aishark: cannot read no.pcap: it is neither pcap nor pcapng")
