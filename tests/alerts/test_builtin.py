"""The built-in rules, on attacks and on innocent traffic that looks like them, and on captures by others.

tests/integration/attack_cases.py sends the same attacks over a real interface."""

import contextlib
from collections import Counter
from pathlib import Path

import pytest

from aishark_panel.alerts.backtest import Backtest
from aishark_panel.alerts.engine import AlertEvent, Engine
from aishark_panel.alerts.load import BUILTIN, read_rules
from aishark_panel.alerts.rule import parse_rule
from aishark_panel.errors import CaptureFileError
from aishark_panel.wire.frames import Frames
from aishark_panel.wire.pcapwrite import PcapWriter
from tests.alerts.blocks import INTERFACES, SECOND, block, udp
from tests.integration.attacks import ATTACKS, Attack, innocent
from tests.traffic import START_NS

RULES = {rule.name: rule for rule in read_rules(BUILTIN)}
FALSE_ALARMS = {"arp_spoofing": 10, "obsolete_tls": 8, "port_scan": 8, "rogue_dhcp": 1}
"""Alerts of the rules that are on, on all captures by others; docs/rules.md judges each."""


def written(path: Path, frames: list[bytes], over_s: float) -> Path:
    """A capture file of these frames, spread evenly over so many seconds, and one 9 s later."""
    content = [*frames, bytes(60)]
    times = [START_NS + i * round(over_s * SECOND) // len(frames) for i in range(len(frames))]
    made = Frames.from_list([frame[:1_000] for frame in content], [*times, START_NS + 9 * SECOND])
    made.orig_len[:] = [len(frame) for frame in content]
    writer = PcapWriter(link_type=1)
    path.write_bytes(writer.header() + writer.frames(made))
    return path


def fired(path: Path) -> list[AlertEvent]:
    """Alerts of the rules that are on."""
    return [event for event in Backtest(list(RULES.values()), path) if event.state == "firing"]


def test_every_rule_that_is_on_has_an_attack() -> None:
    assert {attack.rule for attack in ATTACKS} == {rule.name for rule in RULES.values() if rule.enabled}


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: "-".join(map(str, (attack.rule, *attack.key.values()))))
def test_each_attack_raises_its_alert_and_no_other(attack: Attack, tmp_path: Path) -> None:
    events = fired(written(tmp_path / "attack.pcap", attack.frames(), 2.0))
    assert {event.rule.name for event in events} == {attack.rule}
    (key,) = {tuple(event.key.items()) for event in events}
    assert dict(key).items() >= attack.key.items()


def test_innocent_traffic_raises_none(tmp_path: Path) -> None:
    events = fired(written(tmp_path / "innocent.pcap", list(innocent()), 6.0))
    assert [(event.rule.name, event.key) for event in events] == []


def taken(engine: Engine, frames: Frames) -> list[AlertEvent]:
    packets = block(frames)
    return engine.take(packets, 0, packets.length, INTERFACES)


def switched_on(name: str) -> Engine:
    return Engine([parse_rule({**RULES[name].content, "enabled": True}, "test")])


def test_a_device_that_was_silent_is_new_and_the_others_are_not() -> None:
    known = [i * 60.0 for i in range(40)]  # for 40 minutes
    frame = bytearray(udp([0.0]).frame(0))
    frame[6:12] = bytes.fromhex("02aabbccdd01")
    stranger = Frames.from_list([bytes(frame)], [START_NS + 2_400 * SECOND])
    engine = switched_on("new_device")
    events = [*taken(engine, udp(known)), *taken(engine, stranger), *engine.finish()]
    assert [(e.state, e.key) for e in events if e.state == "firing"] == [("firing", {"eth_src": "02:aa:bb:cc:dd:01"})]


def test_a_spike_is_five_times_what_was_before() -> None:
    engine = switched_on("bandwidth_spike")
    quiet = udp([i / 20 for i in range(20 * 70)], size=1_400)
    loud = udp([72 + i / 5_000 for i in range(20_000)], size=1_400)
    events = [*taken(engine, quiet), *taken(engine, loud), *engine.finish()]
    assert [e.state for e in events] == ["firing", "resolved"]


def test_what_the_rules_say_of_captures_by_others_is_judged(shared_captures: Path) -> None:
    found: Counter[str] = Counter()
    for path in sorted(path for path in shared_captures.rglob("*") if path.is_file()):
        with contextlib.suppress(CaptureFileError):
            found.update(event.rule.name for event in fired(path))
    assert found == FALSE_ALARMS
    page = (Path(__file__).parents[2] / "docs" / "rules.md").read_text("utf-8")
    assert [name for name, count in FALSE_ALARMS.items() if f"| `{name}` | {count} |" not in page] == []
