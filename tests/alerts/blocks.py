"""Real frames as blocks of packets, and rules from a few words, for the tests of this folder."""

import textwrap

import numpy as np

from aishark_panel.alerts.engine import AlertEvent, Engine
from aishark_panel.alerts.rule import Rule, parse_rules
from aishark_panel.dissect import dissect
from aishark_panel.wire.frames import Frames
from aishark_panel.wire.packets import Interface, Packets
from tests.traffic import START_NS, tcp_frame, udp_frame

__all__ = ["INTERFACES", "SECOND", "block", "described", "one_rule", "run", "scan", "udp"]

INTERFACES = [Interface("edge", "eth0", 1), Interface("core", "eth0", 1)]
SECOND = 10**9


def one_rule(**keys: str) -> Rule:
    """A rule with these keys, as YAML."""
    lines = "\n".join(f"{key.rstrip('_')}: {value}" for key, value in {"name": "tested", **keys}.items())
    (rule,) = parse_rules("rules:\n- " + textwrap.indent(lines, "  ").lstrip(), "test.yaml")
    return rule


def block(frames: Frames) -> Packets:
    """The frames dissected, interface by interface as they say."""
    packets = Packets(max(len(frames), 1), text_bytes=2**16)
    codes = np.arange(len(INTERFACES), dtype=np.uint16)
    assert dissect(frames, 0, np.ones(len(INTERFACES), np.int32), codes, packets) == len(frames)
    return packets


def run(engine: Engine, frames: Frames, sizes: list[int] | None = None) -> list[AlertEvent]:
    """What the engine says of frames that come in batches of these sizes (the rest in one), and of their end."""
    events: list[AlertEvent] = []
    start = 0
    for size in [*(sizes or []), len(frames)]:
        stop = min(start + size, len(frames))
        if start < stop:
            packets = block(frames.slice(start, stop))
            events += engine.take(packets, 0, packets.length, INTERFACES)
        start = stop
    return events + engine.finish()


def described(events: list[AlertEvent]) -> list[tuple[object, ...]]:
    """What must not depend on how packets came: rule, key, state, times in seconds, numbers."""
    return [
        (e.rule.name, tuple(e.key.items()), e.state, e.window_start_ns, e.fired_ns, e.at_ns, tuple(e.values.items()))
        for e in events
    ]


def scan(source: str, target: str, ports: int, *, start_s: float = 0.0, step_s: float = 0.05) -> Frames:
    """A port scan: SYNs to ports 1, 2, 3 ..."""
    content = [tcp_frame(source, target, 40_000, port, flags=2) for port in range(1, ports + 1)]
    return Frames.from_list(content, [START_NS + round((start_s + i * step_s) * SECOND) for i in range(ports)])


def udp(times_s: list[float], *, source: str = "10.0.0.1", size: int = 0) -> Frames:
    """UDP packets of one source at these times."""
    content = [udp_frame(source, "10.0.0.2", 1_000, 2_000, bytes(size)) for _ in times_s]
    return Frames.from_list(content, [START_NS + round(t * SECOND) for t in times_s])
