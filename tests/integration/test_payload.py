"""Payload policies and sampling by conversation: a real agent, a real hub, and what clients see and take away."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from aishark_panel.capturefile import open_capture
from aishark_panel.embedded import EmbeddedHub
from aishark_panel.errors import ConflictError
from aishark_panel.wire.frames import Frames
from aishark_panel.wire.pcapwrite import PcapWriter
from tests.dissect.samples import SAMPLES
from tests.integration.conftest import ask, call, run_agent, session_of, stats_when, wait_for
from tests.integration.test_agents import agent, line, register, when
from tests.traffic import tcp_frame

SECRET = b"correct horse battery staple"
COUNT = 300
COLUMNS = [
    *("src_ip", "dst_ip", "src_port", "dst_port", "tcp_flags", "tcp_seq", "payload_len", "orig_len"),
    *("conversation_id", "ip_ttl", "tcp_problem"),
]


@pytest.fixture(scope="module")
def secrets_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Conversations with secrets in them, and a packet of each protocol."""
    content = [sample.frame for sample in SAMPLES]
    for port in range(1_000, 1_000 + COUNT):
        content += [
            tcp_frame("10.0.0.1", "10.0.0.2", port, 9_999, SECRET),
            tcp_frame("10.0.0.2", "10.0.0.1", 9_999, port, SECRET * 3),
        ]
    path = tmp_path_factory.mktemp("secrets") / "secrets.pcap"
    writer = PcapWriter(link_type=1)
    path.write_bytes(writer.header() + writer.frames(Frames.from_list(content, list(range(1, len(content) + 1)))))
    return path


@pytest.fixture(scope="module")
def sessions(hub: EmbeddedHub, secrets_file: Path) -> dict[str, str]:
    """A session for each policy that got the whole file."""
    found = {}
    for policy in ("full", "headers", "5", "none"):
        done = run_agent(
            hub, "-r", str(secrets_file), "--speed", "max", "--session", f"payload {policy}", "--payload", policy
        )
        assert done.returncode == 0, done.stderr
        found[policy] = session_of(hub, f"payload {policy}")
        stats = stats_when(hub, found[policy], lambda s: s["packets"] == len(SAMPLES) + 2 * COUNT, "all packets")
        (run,) = stats["agents"]
        assert str(run["payload"]) == policy
        ledger = ask(hub, lambda c: c.ledger(found[policy]))  # noqa: B023
        assert {stage["difference"] for stage in ledger["agents"][0]["stages"]} == {0}
    return found


def table(hub: EmbeddedHub, session: str, columns: list[str], where: str = "") -> pa.Table:
    return ask(hub, lambda c: c.table(session, columns=columns, where=where))


def exported(hub: EmbeddedHub, session: str, kind: str) -> bytes:
    status, body = call(hub, "GET", f"/api/stream/{session}/export?format={kind}")
    assert status == 200
    return body


def plain(found: pa.Table) -> list[dict[str, Any]]:
    return found.to_pylist()  # type: ignore[no-any-return]


@pytest.mark.parametrize("policy", ["headers", "5", "none"])
def test_header_columns_are_those_of_full_frames(hub: EmbeddedHub, sessions: dict[str, str], policy: str) -> None:
    assert plain(table(hub, sessions[policy], COLUMNS)) == plain(table(hub, sessions["full"], COLUMNS))


def test_without_frames_all_columns_are_those_of_full_frames(hub: EmbeddedHub, sessions: dict[str, str]) -> None:
    columns = [*COLUMNS, "protocol", "dns_query", "tls_sni", "http_host", "banner", "truncated", "malformed"]
    assert plain(table(hub, sessions["none"], columns)) == plain(table(hub, sessions["full"], columns))


@pytest.mark.parametrize(("policy", "kept"), [("full", True), ("headers", False), ("5", False), ("none", False)])
def test_secrets_leave_the_host_only_in_full_frames(
    hub: EmbeddedHub, sessions: dict[str, str], policy: str, kept: bool
) -> None:
    assert (SECRET in exported(hub, sessions[policy], "pcapng")) is kept
    assert (SECRET[:6] in exported(hub, sessions[policy], "parquet")) is False
    assert (SECRET[:5] in exported(hub, sessions[policy], "pcapng")) is (policy in ("full", "5"))


def test_a_packet_without_bytes_is_told_by_its_columns(hub: EmbeddedHub, sessions: dict[str, str]) -> None:
    number = table(hub, sessions["none"], ["number"], "tcp.port == 1000")["number"][0].as_py()
    packet = ask(hub, lambda c: c.packet(sessions["none"], number))
    assert packet["frame"] == b""
    assert (packet["cap_len"], packet["orig_len"]) == (0, 54 + len(SECRET))
    assert packet["info"].startswith("1000 → 9999 [ACK] Seq=1 Ack=1 Win=64 Len=28")
    assert packet["community_id"]
    assert packet["ja3"] is None


def test_conversations_filters_and_exports_work_without_frames(hub: EmbeddedHub, sessions: dict[str, str]) -> None:
    session = sessions["none"]
    for where in ("tcp.port == 9999", "dns", "tls_sni != ''", "ip.addr == 10.0.0.2"):
        found = plain(table(hub, session, ["number"], where))
        assert found == plain(table(hub, sessions["full"], ["number"], where))
        assert found
    assert len(table(hub, session, ["number"], "frame contains 'horse'")) == 0
    tops = [ask(hub, lambda c, s=sessions[p]: c.conversations(s, 1_000))[0] for p in ("none", "full")]  # type: ignore[misc]
    assert tops[0].to_pylist() == tops[1].to_pylist()
    lines = [json.loads(text) for text in exported(hub, session, "json").splitlines()]
    assert len(lines) == len(SAMPLES) + 2 * COUNT


def test_wireshark_reads_a_file_of_packets_without_bytes(
    hub: EmbeddedHub, sessions: dict[str, str], require_tool: Callable[[str], str], tmp_path: Path
) -> None:
    for kind in ("pcapng", "pcap"):
        path = tmp_path / f"none.{kind}"
        path.write_bytes(exported(hub, sessions["none"], kind))
        command = [
            require_tool("tshark"),
            "-n",
            "-r",
            str(path),
            "-T",
            "fields",
            "-e",
            "frame.len",
            "-e",
            "frame.cap_len",
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        lengths = [tuple(map(int, text.split())) for text in done.stdout.splitlines()]
        expected = [(row["orig_len"], 0) for row in plain(table(hub, sessions["none"], ["orig_len"]))]
        assert lengths == expected
        with open_capture(path) as capture:
            assert sum(map(len, capture)) == len(expected)


def test_every_agent_keeps_the_same_conversations_whole(hub: EmbeddedHub, secrets_file: Path) -> None:
    options = ("-r", str(secrets_file), "--speed", "max", "--sampling", "3", "--sampling-by", "conversation")
    kept = []
    for number, payload in enumerate(("full", "headers", "none")):
        done = run_agent(hub, *options, "--session", f"sampled {number}", "--payload", payload)
        assert done.returncode == 0, done.stderr
        session = session_of(hub, f"sampled {number}")
        stats = stats_when(hub, session, lambda s: s["agents"][0]["ended"], "the end")
        assert stats["agents"][0]["sampling_by"] == "conversation"
        assert stats["packets"] + stats["left_out"] == len(SAMPLES) + 2 * COUNT
        assert stats["left_out"] == stats["agents"][0]["counters"]["sampled_out"]
        ours = plain(table(hub, session, ["conversation_id", "src_port", "orig_len"], "tcp.port == 9999"))
        ports = [row["src_port"] for row in ours]
        assert len(ports) % 2 == 0
        assert COUNT // 6 < len(ports) // 2 < COUNT // 2
        assert all(row["conversation_id"] % 3 == 0 for row in ours)
        kept.append(ours)
    assert kept[0] == kept[1] == kept[2]


def test_the_hub_may_ask_for_less_payload_and_for_no_more_than_the_host_allows(hub: EmbeddedHub) -> None:
    agent_id, key = register(hub, "careful")
    with agent(hub, key, "--synthetic", "--rate", "500", "--payload", "headers", "--session", "careful"):
        when(hub, agent_id, "capturing")
        session = session_of(hub, "careful")

        def start(**settings: Any) -> Any:
            ask(hub, lambda c: c.agent_start(agent_id, **settings))
            return ask(hub, lambda c: c.stats(session))["agents"][0]["payload"]

        assert start(payload="full") == "headers"
        with pytest.raises(ConflictError, match="'headers' at most"):
            start(payload=1_000)
        assert start(payload="none") == "none"
        seen = ask(hub, lambda c: c.stats(session))["end"]
        wait_for(lambda: table(hub, session, ["cap_len"], f"cap_len == 0 and number > {seen}").num_rows > 50, "columns")
        assert start(payload="full", sampling=2, sampling_by="conversation") == "headers"
        stats = ask(hub, lambda c: c.stats(session))["agents"][0]
        assert (stats["sampling"], stats["sampling_by"]) == (2, "conversation")
        ask(hub, lambda c: c.profile_save("nothing", payload="none"))
        assert start(profile="nothing") == "none"
        assert ask(hub, lambda c: c.stats(session))["agents"][0]["sampling_by"] == "packet"
        line_now = line(hub, agent_id)
        assert line_now is not None
        assert line_now["settings"]["payload"] == "none"


def test_a_hub_refuses_a_payload_policy_that_does_not_exist(hub: EmbeddedHub) -> None:
    for payload in ("half", 0, -1, 300_000, 1.5, True):
        status, body = call(hub, "POST", "/api/profiles", {"name": "bad", "payload": payload})
        assert (status, json.loads(body)["error"]["kind"]) == (400, "ConfigError")
    assert call(hub, "POST", "/api/profiles", {"name": "bad", "sampling_by": "flow"})[0] == 400
