"""Alerts of a session that takes packets live are those of trying the same rules on the file: on every capture by
others, in batches of odd sizes."""

from pathlib import Path
from typing import Any

import pytest

from aishark_panel.alerts.backtest import Backtest
from aishark_panel.alerts.load import BUILTIN, read_rules
from aishark_panel.alerts.rule import parse_rules
from aishark_panel.capturefile import open_capture
from aishark_panel.errors import CaptureFileError
from aishark_panel.streams.ring import MIN_LIMIT_BYTES
from aishark_panel.streams.session import Session
from aishark_panel.wire.messages import PROTOCOL_VERSION, Hello, InterfaceInfo

SIZES = (1, 7, 64, 500, 3, 1_000)
RULES = (
    *read_rules(BUILTIN),
    *parse_rules(
        """
rules:
  - {name: packet, where: tcp_problem != 0, by: [src_ip]}
  - {name: talkers, by: [src_ip, dst_ip], over: 10s, having: packets >= 20 and p95(orig_len) > 200}
  - {name: names, where: dns, by: [dns_query], over: 10s, for: 1s, having: packets >= 4}
  - {name: ports, where: tcp, by: [src_ip], over: 9s, having: nunique(dst_port) >= 3, keep_firing_for: 2s, rearm: 5s}
  - {name: spike, over: 10s, having: packets > 2 * before(packets) and before(packets) >= 0}
  - {name: lengths, by: [protocol], over: 20s, having: max(payload_len) > 3 * mean(payload_len)}
""",
        "mixed",
    ),
)


def _key(key: dict[str, Any]) -> list[str]:
    """Without the agent, which a file does not know."""
    return [f"{name} {value}" for name, value in key.items() if name != "agent"]


def live(path: Path) -> list[tuple[Any, ...]] | None:
    """Alerts of a session that took the file; None where it cannot be read."""
    try:
        with open_capture(path) as file:
            while not file.ended:  # its blocks use one memory in turn: a first reading is for the interfaces only
                file.read()
            interfaces = file.interfaces
    except CaptureFileError:
        return None
    session = Session("abc", "live", ring_bytes=MIN_LIMIT_BYTES, rules=RULES)
    hello = Hello(
        protocol=PROTOCOL_VERSION,
        agent="a",
        run="0" * 32,
        version="",
        host="",
        source="replay",
        interfaces=tuple(InterfaceInfo(name=each.name, link_type=each.link_type) for each in interfaces),
    )
    run = session.runs.attach(hello)
    number = 0
    with open_capture(path) as file:
        for frames in file:
            start = 0
            while start < len(frames):
                number += 1
                stop = min(start + SIZES[number % len(SIZES)], len(frames))
                session.ingest(run, frames.slice(start, stop), number, {})
                start = stop
    session.alerts.finish()
    assert session.alerts.counts()["forgotten"] == 0
    return sorted(
        (a["rule"], *_key(a["key"]), a["window_start_ns"], a["fired_ns"], a["resolved_ns"])
        for a in session.alerts.since(0)["alerts"]
    )


def tried(path: Path) -> list[tuple[Any, ...]] | None:
    """The same of trying the rules on the file."""
    try:
        events = list(Backtest(RULES, path))
    except CaptureFileError:
        return None
    return sorted(
        (e.rule.name, *_key(e.key), e.window_start_ns, e.fired_ns, e.at_ns) for e in events if e.state == "resolved"
    )


@pytest.mark.timeout(300)
def test_live_alerts_are_those_of_a_backtest_on_every_capture(shared_captures: Path) -> None:
    seen = files = 0
    differing = []
    for path in sorted(path for path in shared_captures.rglob("*") if path.is_file()):
        there, here = tried(path), live(path)
        if there != here:
            differing.append((path.name, sorted(set(there or []) ^ set(here or []))[:4]))
        files += there is not None
        seen += len(there or [])
    assert differing == []
    assert files > 300
    assert seen > 500
