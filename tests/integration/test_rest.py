"""REST as a program sees it: its document holds, its packets are the session's, its errors have one shape."""

import base64
import io
import json
import os
import re
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from email.message import Message
from pathlib import Path
from typing import Any

import hypothesis
import pyarrow as pa
import pytest
import schemathesis
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.generation import GenerationMode

from aishark_panel.embedded import EmbeddedHub, start_hub
from aishark_panel.streams.guard import Open
from aishark_panel.streams.openapi import document, path_template
from aishark_panel.streams.operation import HTTP_METHODS, methods_of, operation_of
from aishark_panel.streams.routes import ROUTES
from tests.integration.conftest import ask, call, run_agent, session_of, wait_for, wait_until_ready
from tests.traffic import frames

EXAMPLES = int(os.environ.get("AISHARK_REST_EXAMPLES", "6"))
"""Requests that are made up for each route and method; 1,000 take some 20 minutes."""
_AGENT = [sys.executable, "-m", "aishark_panel", "agent"]
NOBODYS = "0123456789ab"
TABLE = [(pattern, handler, method) for pattern, handler in ROUTES for method in methods_of(handler)]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedHub]:
    folder = tmp_path_factory.mktemp("rest") / "recordings"
    options = ["--port", "0", "--ring-mib", "48", "--max-requests-per-second", "100000", "--recordings", str(folder)]
    started = start_hub(*options)
    wait_until_ready(started)
    yield started
    started.close()


@pytest.fixture(scope="module")
def session(hub: EmbeddedHub, capture_file: Path) -> str:
    run_agent(hub, "-r", str(capture_file), "--speed", "max", "--session", "file", "--name", "edge")
    return session_of(hub, "file")


def get(hub: EmbeddedHub, path: str, accept: str = "", token: str | None = None) -> tuple[int, Message, bytes]:
    headers = {"Authorization": f"Bearer {token or hub.token}", **({"Accept": accept} if accept else {})}
    try:
        with urllib.request.urlopen(urllib.request.Request(hub.url + path, headers=headers), timeout=20) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def lines(body: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in body.splitlines()]


def is_error(status: int, body: bytes) -> bool:
    error = json.loads(body)["error"]
    return status >= 400 and set(error) == {"kind", "message", "position"} and bool(error["message"])


def path_of(pattern: str) -> str:
    """A route with ids of nothing."""
    numbered = pattern.replace("([1-9][0-9]{0,15})", "1").replace("([0-9]{1,20})", "1")
    return re.sub(r"\([^)]*\)", NOBODYS, numbered).replace("\\", "")


@pytest.mark.parametrize(
    "label", sorted(f"{method} {path_template(pattern, handler)}" for pattern, handler, method in TABLE)
)
def test_made_up_requests_are_answered_as_the_document_says(hub: EmbeddedHub, session: str, label: str) -> None:
    load_all_checks()
    checks = [check for check in CHECKS.get_all() if check.__name__ != "positive_data_acceptance"]
    method, path = label.split()
    route = schemathesis.openapi.from_dict(document(ROUTES))[path][method]
    cases = route.as_strategy(generation_mode=GenerationMode.POSITIVE)
    if route.path_parameters or route.query or route.body:
        cases |= route.as_strategy(generation_mode=GenerationMode.NEGATIVE)
    seen: list[int] = []

    @hypothesis.settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(case=cases)
    def request(case: Any) -> None:
        if case.meta.generation.mode is GenerationMode.POSITIVE and case.method != "DELETE":
            case.path_parameters = {**(case.path_parameters or {})}
            case.path_parameters |= {"session_id": session} if "session_id" in case.path_parameters else {}
        if "follow" in (case.query or {}):
            case.query["follow"] = "false"  # of a session that goes on this has no end
        # Each by a connection of its own: one that waited for the next example may be closed just then.
        headers = {"Authorization": f"Bearer {hub.token}", "Connection": "close"}
        answer = case.call(base_url=hub.url, headers=headers, timeout=20)
        seen.append(answer.status_code)
        case.validate_response(answer, checks=checks)

    request()
    assert seen
    assert max(seen) < 500
    assert ask(hub, lambda c: c.stats(session))["packets"] == 10_000


def test_the_document_is_served_as_it_is_made(hub: EmbeddedHub) -> None:
    assert json.loads(call(hub, "GET", "/api/openapi.json")[1]) == json.loads(json.dumps(document(ROUTES)))


@pytest.mark.parametrize(("pattern", "handler", "method"), TABLE, ids=lambda x: x if isinstance(x, str) else "")
def test_wrong_requests_have_errors_of_one_shape(hub: EmbeddedHub, pattern: str, handler: Any, method: str) -> None:
    path = path_of(pattern)
    other = next(m for m in ("PUT", "PATCH") if m not in methods_of(handler))
    request = urllib.request.Request(hub.url + path, method=other, headers={"Authorization": f"Bearer {hub.token}"})
    if not path.startswith(("/api/export/", "/api/uploads/")):  # these look at the path before the method
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request, timeout=20)
        assert caught.value.code == 405
        assert caught.value.headers["Allow"] == ", ".join(methods_of(handler))
        assert is_error(405, caught.value.read())
    if method == "HEAD":
        return
    for token in ("", "wrong"):
        status, body = call(hub, method, path, token=token)
        alive = (path, method, token) == ("/api/health", "GET", "")
        assert (status, is_error(status, body) if status >= 400 else body) == (
            (200, b'{"state": "alive"}') if alive else (401, True)
        )
    if method in ("POST", "PATCH"):
        often = {429} if issubclass(handler, Open) else set()  # who tries to log in that often has to wait
        for wrong in ([1], "text", {"no such field": 1}, 5):
            status, body = call(hub, method, path, wrong)
            if (what := operation_of(handler, method)) and what.body:
                assert (status in {400, *often}, is_error(status, body)) == (True, True)
        if "uploads/" not in path:  # chunks of uploads may be longer
            status, body = call(hub, method, path, "x" * 2**21)
            assert (status in {413, *often}, is_error(status, body)) == (True, True)


@pytest.mark.parametrize("method", [m for m in HTTP_METHODS if m != "HEAD"])
def test_a_path_that_is_none_is_not_found(hub: EmbeddedHub, method: str) -> None:
    for path in ("/api/nowhere", "/", "/api/stream/not-an-id", f"/api/stream/{NOBODYS}/packets/0", "/api/%ff"):
        status, body = call(hub, method, path)
        assert (status, is_error(status, body)) == (404, True)


@pytest.mark.parametrize("length", ["Content-Length: {}", "Transfer-Encoding: chunked"])
def test_a_body_that_is_too_long_is_heard_and_refused_and_the_connection_goes_on(hub: EmbeddedHub, length: str) -> None:
    host, port = hub.url.removeprefix("http://").split(":")
    body = b"[" * (3 * 2**20)
    sent = body if "Content" in length else f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n"
    head = f"POST /api/profiles HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {hub.token}\r\n"
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(head.encode() + length.format(len(body)).encode() + b"\r\n\r\n" + sent)
        connection.sendall(head.encode() + b"Connection: close\r\nContent-Length: 0\r\n\r\n")
        answers = b"".join(iter(lambda: connection.recv(65_536), b""))
    assert re.findall(rb"HTTP/1.1 (\d+)", answers) == [b"413", b"400"]


def test_a_parameter_that_is_unknown_or_given_twice_is_refused(hub: EmbeddedHub, session: str) -> None:
    for query, said in (("wher=udp", "wher"), ("limit=1&limit=2", "more than once"), ("limit=many", "limit")):
        status, body = call(hub, "GET", f"/api/stream/{session}/packets?{query}")
        assert (status, said in json.loads(body)["error"]["message"]) == (400, True)


def test_pages_have_every_packet_once_and_in_order(hub: EmbeddedHub, session: str) -> None:
    path, numbers = f"/api/stream/{session}/packets?columns=number,src_port&limit=3000", []
    pages = 0
    while path:
        status, headers, body = get(hub, path)
        assert (status, headers["Content-Type"], headers["Missed-Packets"]) == (200, "application/x-ndjson", "0")
        numbers += [row["number"] for row in lines(body)]
        assert int(headers["Next-Cursor"]) == numbers[-1] + 1
        link = re.fullmatch(r'<(.*)>; rel="next"', headers["Link"] or "")
        path = link[1] if link else ""
        pages += 1
    assert numbers == list(range(1, 10_001))
    assert pages == 4


def test_a_page_is_what_the_expression_selects_within_the_range(hub: EmbeddedHub, session: str) -> None:
    where = "where=src_port%3D%3D10006&columns=number"
    _, headers, body = get(hub, f"/api/stream/{session}/packets?{where}&cursor=8&end=600")
    assert [row["number"] for row in lines(body)] == [257, 507]
    assert (headers["Next-Cursor"], headers["Link"]) == ("600", None)
    _, headers, body = get(hub, f"/api/stream/{session}/packets?{where}&limit=2")
    assert [row["number"] for row in lines(body)] == [7, 257]
    assert headers["Next-Cursor"] == "258"
    assert "cursor=258" in headers["Link"]
    assert "where=src_port%3D%3D10006" in headers["Link"]
    _, headers, body = get(hub, f"/api/stream/{session}/packets?cursor=20000")
    assert (headers["Next-Cursor"], headers["Missed-Packets"], body) == ("20000", "0", b"")


def test_a_page_says_how_many_packets_are_gone(hub: EmbeddedHub, capture_file: Path) -> None:
    run_agent(hub, "-r", str(capture_file), "--speed", "max", "--session", "emptied")
    emptied = session_of(hub, "emptied")
    ask(hub, lambda c: c.clear(emptied))
    _, headers, body = get(hub, f"/api/stream/{emptied}/packets?cursor=9001")
    assert (headers["Missed-Packets"], headers["Next-Cursor"], body) == ("1000", "10001", b"")
    assert call(hub, "GET", f"/api/stream/{emptied}/packets/9001")[0] == 404


def test_formats_of_a_page_agree(
    hub: EmbeddedHub, session: str, tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    path = f"/api/stream/{session}/packets?cursor=101&limit=50&"
    _, _, body = get(hub, path + "columns=number,frame", "application/vnd.apache.arrow.stream")
    table = pa.ipc.open_stream(body).read_all()
    assert table["number"].to_pylist() == list(range(101, 151))
    assert table["frame"].to_pylist() == [frames(10_000).frame(i) for i in range(100, 150)]
    _, headers, body = get(hub, path + "columns=number,src_port", "text/csv, */*;q=0.1")
    rows = [line.split(",") for line in body.decode().split("\r\n")[:-1]]
    assert headers["Content-Type"].startswith("text/csv")
    assert rows == [["number", "src_port"], *([str(i + 1), str(10_000 + i % 250)] for i in range(100, 150))]
    (tmp_path / "page.pcapng").write_bytes(get(hub, path, "application/x-pcapng")[2])
    command = [require_tool("tshark"), "-n", "-r", str(tmp_path / "page.pcapng"), "-T", "fields", "-e", "udp.srcport"]
    ports = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert ports == [row[1] for row in rows[1:]]
    status, _, body = get(hub, path, "image/png")
    assert (status, is_error(status, body)) == (406, True)


def test_frames_need_the_right_to_export(hub: EmbeddedHub) -> None:
    body = call(hub, "POST", "/api/tokens", {"person": "guest", "capabilities": ["view"]})[1]
    token = json.loads(body)["token"]
    created = call(hub, "POST", "/api/tokens", {"person": "guest", "capabilities": ["capture"]})[1]
    made = call(hub, "POST", "/api/stream/start", {"name": "guests"}, token=json.loads(created)["token"])[1]
    path = f"/api/stream/{json.loads(made)['id']}/packets"
    assert get(hub, path, token=token)[0] == 200
    status, _, body = get(hub, path, "application/x-pcapng", token)
    assert (status, is_error(status, body)) == (403, True)


def test_one_packet_is_the_frame_that_was_sent(hub: EmbeddedHub, session: str) -> None:
    packet = json.loads(call(hub, "GET", f"/api/stream/{session}/packets/7")[1])
    assert base64.b64decode(packet["frame"]) == frames(10_000).frame(6)
    assert (packet["columns"]["src_port"], packet["columns"]["protocol"]) == (10_006, "UDP")
    assert packet["columns"]["ts"] == int(frames(10_000).ts[6])


def test_tables_as_json_are_those_of_the_clients_socket(hub: EmbeddedHub, session: str) -> None:
    def json_of(path: str) -> Any:
        return json.loads(call(hub, "GET", f"/api/stream/{session}/{path}")[1])

    assert json_of("rollups")["bins"] == ask(hub, lambda c: c.traffic(session, 1_000))[0].to_pylist()
    assert json_of("rollups?resolution_ms=100&since=17000000095")["bins"][0]["bin"] == 17_000_000_095
    found = json_of("conversations?limit=7")
    assert found["total"] == 250
    assert found["conversations"] == ask(hub, lambda c: c.conversations(session, 7))[0].to_pylist()
    arrow = get(hub, f"/api/stream/{session}/conversations?limit=7", "application/vnd.apache.arrow.stream")[2]
    assert pa.ipc.open_stream(io.BytesIO(arrow)).read_all().to_pylist() == found["conversations"]


def test_what_was_said_in_a_conversation_comes_with_its_counts(hub: EmbeddedHub, session: str) -> None:
    packet = ask(hub, lambda c: c.packet(session, 1))
    conversation = packet["conversation_id"]
    path = f"/api/stream/{session}/conversations/{conversation}"
    of_it = json.loads(call(hub, "GET", path)[1])
    listed = ask(hub, lambda c: c.conversations(session, 1_000))[0].to_pylist()
    assert [of_it["counts"]] == [each for each in listed if each["conversation_id"] == conversation]
    assert sum(of_it["kept"]["bytes_ab"]) == of_it["counts"]["bytes_ab"]
    said = json.loads(call(hub, "GET", f"{path}/payloads?limit=1")[1])
    (piece,) = said["pieces"]
    data = base64.b64decode(piece["data"])
    assert (piece["number"], len(data), said["more"]) == (1, packet["payload_len"], True)
    assert packet["frame"].endswith(data)
    rest = json.loads(call(hub, "GET", f"{path}/payloads?cursor={said['cursor']}")[1])
    assert 1 + len(rest["pieces"]) == of_it["kept"]["packets"]
    assert call(hub, "GET", f"{path}/payloads?cursor=none")[0] == 400
    assert call(hub, "GET", f"/api/stream/{session}/conversations/{2**64}")[0] == 400


def test_endpoints_are_the_sums_of_their_packets(hub: EmbeddedHub, session: str) -> None:
    _, _, body = get(hub, f"/api/stream/{session}/packets?columns=src_ip,dst_ip,orig_len&limit=10000")
    sums: dict[str, list[int]] = {}
    for row in lines(body):
        sent, received = sums.setdefault(row["src_ip"], [0] * 4), sums.setdefault(row["dst_ip"], [0] * 4)
        sent[0], sent[1] = sent[0] + 1, sent[1] + row["orig_len"]
        received[2], received[3] = received[2] + 1, received[3] + row["orig_len"]
    answer = json.loads(call(hub, "GET", f"/api/stream/{session}/endpoints?limit=1000")[1])
    told = {
        e["address"]: [e["packets_sent"], e["bytes_sent"], e["packets_received"], e["bytes_received"]]
        for e in answer["endpoints"]
    }
    assert told == sums
    assert answer["total"] == len(sums) == 251
    most = answer["endpoints"][0]
    assert (most["conversations"], most["first_ts"]) == (250, int(frames(1).ts[0]))
    assert most["last_ts"] == int(frames(10_000).ts[-1])


def samples(text: str) -> dict[str, float]:
    return {
        line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in text.split("\n") if line and line[0] != "#"
    }


def test_metrics_have_the_ledger_and_count_requests(hub: EmbeddedHub, session: str) -> None:
    before = samples(call(hub, "GET", "/metrics")[1].decode())
    label = f'session="{session}",agent="edge",stage="hub",part='
    assert before[f'aishark_hub_ledger_packets_total{{{label}"ingested"}}'] == 10_000
    assert before[f'aishark_hub_ledger_packets_held{{{label}"in_hub_queue"}}'] == 0
    assert before[f'aishark_hub_session_packets_total{{session="{session}",name="file"}}'] == 10_000
    counter = 'aishark_hub_requests_total{route="/api/stream/{session_id}/stats",method="GET",status="404"}'
    assert call(hub, "GET", f"/api/stream/{NOBODYS}/stats")[0] == 404
    after = samples(call(hub, "GET", "/metrics")[1].decode())
    assert after[counter] == before.get(counter, 0) + 1


def test_metrics_and_health_show_a_person_no_more_than_they_see(hub: EmbeddedHub, session: str) -> None:
    issued = call(hub, "POST", "/api/tokens", {"person": "stranger", "capabilities": ["view"]})[1]
    token = json.loads(issued)["token"]
    assert session.encode() not in get(hub, "/metrics", token=token)[2]
    assert json.loads(get(hub, "/api/health", token=token)[2])["sessions"] == 0


def test_health_says_which_agent_is_gone(hub: EmbeddedHub, session: str) -> None:
    with subprocess.Popen(
        [*_AGENT, "--hub", hub.url, "--synthetic", "--session", "gone", "--name", "far"],
        env={**os.environ, "AISHARK_TOKEN": hub.token},
        stderr=subprocess.DEVNULL,
    ) as agent:
        gone = session_of(hub, "gone")
        healthy = json.loads(call(hub, "GET", "/api/health")[1])
        agent.kill()
    assert healthy["agents"] >= 1
    assert not [reason for reason in healthy["reasons"] if reason["name"] == "far"]

    def told() -> Any:
        return [r for r in json.loads(call(hub, "GET", "/api/health")[1])["reasons"] if r["name"] == "far"]

    assert wait_for(told, "the reason")[0]["part"] == "agent"
    assert json.loads(call(hub, "GET", "/api/health")[1])["state"] == "troubled"
    ask(hub, lambda c: c.delete(gone))
    assert not told()
