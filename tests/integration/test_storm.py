"""A storm: thousands of keys of one rule at once, through a real hub. Ingest is unharmed, memory bounded, people are
told once."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aishark_panel.embedded import EmbeddedHub, start_hub
from aishark_panel.wire.frames import Frames
from aishark_panel.wire.pcapwrite import PcapWriter
from tests.integration.conftest import ask, call, run_agent, session_of, stats_when, wait_for, wait_until_ready
from tests.traffic import START_NS, udp_frame

KEYS = 20_000
SECONDS = 12
RULES = "rules: [{name: storm, where: udp, by: [src_ip], over: 10s, having: packets >= 1, severity: critical}]"
MOST_MIB = 200
"""What alerts, their file and their messages may take while they are worked off."""


def private_mib(hub: EmbeddedHub) -> float:
    match = re.search(r"RssAnon:\s+(\d+) kB", Path(f"/proc/{hub.process.pid}/status").read_text())
    assert match
    return int(match[1]) / 1024


@pytest.fixture(scope="module")
def storm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A capture of so many sources in so many seconds."""
    frame = np.frombuffer(udp_frame("10.0.0.0", "10.200.0.1", 1, 2), np.uint8)
    content = np.tile(frame, (KEYS, 1))
    content[:, 26:30] = (0x0A000000 + np.arange(KEYS, dtype=">u4")).astype(">u4").view(np.uint8).reshape(-1, 4)
    times = [START_NS + i * SECONDS * 10**9 // KEYS for i in range(KEYS)]
    path = tmp_path_factory.mktemp("captures") / "storm.pcap"
    writer = PcapWriter(link_type=1)
    path.write_bytes(writer.header() + writer.frames(Frames.from_list([row.tobytes() for row in content], times)))
    return path


def test_a_storm_is_told_of_once_and_costs_no_packet(
    storm: Path, told: tuple[str, list[dict[str, Any]]], tmp_path: Path
) -> None:
    (tmp_path / "rules.yaml").write_text(RULES)
    options = ["--ring-mib", "48", "--rules", str(tmp_path / "rules.yaml"), "--webhook", told[0]]
    hub = start_hub("--port", "0", "--journal", str(tmp_path / "journal"), *options)
    try:
        wait_until_ready(hub)
        before_mib = private_mib(hub)
        assert run_agent(hub, "-r", str(storm), "--speed", "4", "--session", "storm").returncode == 0
        session = session_of(hub, "storm")
        stats = stats_when(hub, session, lambda s: s["state"] == "ended", "the end of the file")
        assert (stats["packets"], stats["lost"], stats["agents"][0]["duplicate_batches"]) == (KEYS, 0, 0)
        counts = stats_when(hub, session, lambda s: not s["alerts"]["firing"], "the end of the alerts")["alerts"]
        mine = wait_for(lambda: [m for m in told[1] if m["session"]["id"] == session and "more" in m], "the message")
        assert len(mine) == 1
        assert mine[0]["firing"] + mine[0]["resolved"] > 1_000
        assert len(mine[0]["alerts"]) == 20
        rules = {rule["name"]: rule for rule in ask(hub, lambda c: c.alerts(session))["rules"]}
        assert counts["raised"] + rules["storm"]["missed_keys"] == KEYS
        assert counts["raised"] - counts["forgotten"] <= 1_000
        assert private_mib(hub) - before_mib < 48 + MOST_MIB
        assert b'aishark_hub_notifications_total{channel="webhook",fate="failed"} 0' in call(hub, "GET", "/metrics")[1]
    finally:
        hub.close()
