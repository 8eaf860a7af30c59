"""The engine: which alerts packets raise, when, and that it does not matter how they are cut into batches."""

from collections import defaultdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aishark_panel.alerts.engine import LATENESS_NS, Engine
from aishark_panel.alerts.load import BUILTIN, read_rules
from aishark_panel.alerts.rule import parse_rule
from aishark_panel.wire.frames import Frames
from tests.alerts.blocks import INTERFACES, SECOND, block, described, one_rule, run, scan, udp
from tests.traffic import START_NS, tcp_frame, udp_frame

DNS = b"\0\1\1\0\0\1\0\0\0\0\0\0\7example\3com\0\0\1\0\1"


def at_s(at_ns: int) -> float:
    return (at_ns - START_NS) / SECOND


def joined(*parts: Frames) -> Frames:
    """Several traffics as one, by time."""
    rows = sorted((int(part.ts[i]), part.frame(i)) for part in parts for i in range(len(part)))
    return Frames.from_list([frame for _, frame in rows], [ts for ts, _ in rows])


def test_a_port_scan_is_told_from_a_busy_client() -> None:
    busy = [tcp_frame("10.0.0.7", "10.0.0.2", 40_000 + i, 443, flags=2) for i in range(100)]
    frames = joined(
        scan("10.0.0.66", "10.0.0.2", 30, start_s=3.0),
        Frames.from_list(busy, [START_NS + i * SECOND // 10 for i in range(100)]),
    )
    events = run(Engine(read_rules(BUILTIN)), frames)
    assert [(e.rule.name, e.state, e.key) for e in events] == [
        ("port_scan", state, {"src_ip": "10.0.0.66", "dst_ip": "10.0.0.2"}) for state in ("firing", "resolved")
    ]
    firing, resolved = events
    assert (at_s(firing.at_ns), at_s(firing.window_start_ns), firing.fired_ns) == (4.0, -6.0, firing.at_ns)
    assert firing.values["nunique_dst_port"] == 20
    assert (at_s(resolved.at_ns), resolved.fired_ns) == (14.0, firing.at_ns)


def test_a_syn_flood_is_told_from_a_busy_server() -> None:
    def spread(content: list[bytes]) -> Frames:
        return Frames.from_list(content, [START_NS + i * 4 * SECOND // len(content) for i in range(len(content))])

    def syns(target: str) -> Frames:
        return spread([tcp_frame(f"10.1.{i >> 8}.{i & 255}", target, 1_000, 80, flags=2) for i in range(1_200)])

    def others(target: str, count: int) -> Frames:
        return spread([tcp_frame("10.0.0.1", target, 1_001, 80)] * count)

    frames = joined(syns("10.0.0.2"), others("10.0.0.2", 100), syns("10.0.0.3"), others("10.0.0.3", 5_000))
    events = run(Engine(read_rules(BUILTIN)), frames)
    assert [(e.rule.name, e.state, e.key) for e in events] == [
        ("syn_flood", "firing", {"dst_ip": "10.0.0.2"}),
        ("syn_flood", "resolved", {"dst_ip": "10.0.0.2"}),
    ]


def test_bandwidth_is_over_the_whole_window() -> None:
    rule = one_rule(over="5s", having="bits_per_s >= 8000")
    events = run(Engine([rule]), udp([i / 10 for i in range(100)], size=58))  # 100 bytes on the wire
    assert [(e.state, at_s(e.at_ns)) for e in events] == [("firing", 5.0), ("resolved", 10.5)]
    assert events[0].values["bits_per_s"] == 8_000


def test_pending_until_the_condition_held_for_long_enough() -> None:
    rule = one_rule(by="[src_ip]", over="1s", having="packets >= 5", for_="2s")
    short = udp([i / 10 for i in range(10)], source="10.0.0.5")
    long = udp([i / 10 for i in range(40)], source="10.0.0.6")
    events = run(Engine([rule]), joined(short, long))
    states: dict[str, list[tuple[str, float]]] = defaultdict(list)
    for event in events:
        states[event.key["src_ip"]].append((event.state, at_s(event.at_ns)))
    assert states["10.0.0.5"] == [("pending", 0.5), ("resolved", 1.6)]
    assert states["10.0.0.6"] == [("pending", 0.5), ("firing", 2.5), ("resolved", 4.6)]
    assert events[-1].fired_ns == START_NS + round(2.5 * SECOND)
    assert next(e for e in events if e.state == "resolved").fired_ns == 0


def test_without_a_window_packets_close_together_are_one_alert() -> None:
    rule = one_rule(where="udp", by="[src_port]")
    events = run(Engine([rule]), udp([0.2, 0.3, 5.0, 30.0]))
    assert [(e.state, at_s(e.at_ns)) for e in events] == [
        ("firing", 1.0), ("resolved", 16.0), ("firing", 31.0), ("resolved", 41.0),
    ]  # fmt: skip


def test_packets_without_a_value_in_a_grouping_column_are_left_out() -> None:
    rule = one_rule(by="[tcp_flags, src_ip]")
    frames = joined(udp([0.0]), Frames.from_list([tcp_frame("10.0.0.9", "10.0.0.2", 1, 2)], [START_NS]))
    assert {tuple(e.key.items()) for e in run(Engine([rule]), frames)} == {(("tcp_flags", 16), ("src_ip", "10.0.0.9"))}


@pytest.mark.parametrize(
    ("by", "value"),
    [
        ("src_ip", "10.0.0.1"), ("eth_src", "02:00:00:00:00:01"), ("protocol", "DNS"), ("dns_query", "example.com"),
        ("agent", "core"), ("iface", "eth0"), ("dst_port", 53), ("udp.dstport", 53), ("malformed", False),
        ("dns.flags.response", False),
    ],
)  # fmt: skip
def test_keys_of_every_kind_read_as_people_write_them(by: str, value: Any) -> None:
    frame = udp_frame("10.0.0.1", "10.0.0.2", 4_000, 53, DNS)
    events = run(Engine([one_rule(by=f"[{by}]")]), Frames.from_list([frame], [START_NS], iface=1))
    assert list(events[0].key.values()) == [value]


def test_numbers_of_a_window() -> None:
    having = "mean(payload_len) > 0 and max(payload_len) > 0 and nunique(src_ip) > 0 and count('src_port == 1000') > 0"
    rule = one_rule(over="10s", having=having)
    frames = joined(
        udp([0.1, 0.2], size=10),
        udp([0.3], source="10.0.0.3", size=40),
        Frames.from_list([bytes(60)], [START_NS]),  # no IP: counts as a packet, has no payload_len
    )
    values = run(Engine([rule]), frames)[0].values
    assert {k: values[k] for k in ("packets", "mean_payload_len", "max_payload_len", "nunique_src_ip", "count_1")} == {
        "packets": 4, "mean_payload_len": 20, "max_payload_len": 40, "nunique_src_ip": 2, "count_1": 3,
    }  # fmt: skip


def test_sums_and_extremes_of_a_window() -> None:
    rule = one_rule(over="10s", having="sum(payload_len) > 0 and min(payload_len) >= 0 and p50(payload_len) > 0")
    frames = joined(udp([0.1, 0.2, 0.3], size=100), udp([0.4], size=30), Frames.from_list([bytes(60)], [START_NS]))
    values = run(Engine([rule]), frames)[0].values
    assert (values["sum_payload_len"], values["min_payload_len"]) == (330, 30)
    assert values["p50_payload_len"] == 100


def test_a_spike_is_told_from_the_windows_before() -> None:
    """Ten packets a second for seven seconds, then a hundred."""
    rule = one_rule(by="[src_ip]", over="1s", having="packets >= 4 * before(packets) and before(packets) > 0")
    quiet, loud = [i / 10 for i in range(70)], [7.2 + i / 100 for i in range(50)]
    firing, _ = run(Engine([rule]), udp(quiet + loud))
    assert (firing.state, firing.key, firing.values["before_packets"]) == ("firing", {"src_ip": "10.0.0.1"}, 10)
    assert 7.0 < at_s(firing.at_ns) <= 8.0
    # Five windows must be over before anything is compared; a source of its own begins with none but the rule's past.
    assert run(Engine([rule]), udp(quiet[:40] + [4.2 + i / 100 for i in range(50)])) == []
    other = udp([7.2 + i / 100 for i in range(50)], source="10.0.0.5")
    assert run(Engine([rule]), joined(udp(quiet), other)) == []


def test_muted_keys_do_not_fire_and_are_counted() -> None:
    engine = Engine([one_rule(by="[src_ip, dst_port]", over="1s", mute="[{src_ip: 10.0.0.1}, {dst_port: 9}]")])
    events = run(engine, joined(udp([0.0]), udp([0.0], source="10.0.0.5")))
    assert [(e.key["src_ip"], e.state) for e in events] == [("10.0.0.5", "firing"), ("10.0.0.5", "resolved")]
    assert engine.status()[0].muted == 1


def test_a_key_that_was_resolved_is_armed_again_later() -> None:
    engine = Engine([one_rule(over="1s", rearm="10s")])
    events = run(engine, udp([0.0, 5.0, 20.0]))
    assert [(e.state, at_s(e.at_ns)) for e in events] == [
        ("firing", 0.1), ("resolved", 1.1), ("firing", 20.1), ("resolved", 21.1),
    ]  # fmt: skip
    assert engine.status()[0].held_back == 1


def test_a_long_hold_costs_nothing() -> None:
    """A day in steps of a tenth of a second, if each were looked at."""
    rule = one_rule(over="1s", keep_firing_for="24h")
    events = run(Engine([rule]), udp([0.0]))
    assert [(e.state, at_s(e.at_ns)) for e in events] == [("firing", 0.1), ("resolved", 86_401.1)]


def test_rules_are_replaced_while_packets_come() -> None:
    kept, gone = one_rule(name="kept", over="5s", by="[src_ip]"), one_rule(name="gone", over="5s")
    engine = Engine([kept, gone])
    packets = block(udp([0.0, 3.0]))
    assert [(e.rule.name, e.state) for e in engine.take(packets, 0, packets.length, INTERFACES)] == [
        ("kept", "firing"), ("gone", "firing"),
    ]  # fmt: skip
    assert [(e.rule.name, e.state) for e in engine.replace([kept, one_rule(name="new")])] == [("gone", "resolved")]
    assert [(e.rule.name, e.state) for e in engine.finish()] == [("kept", "resolved")]
    assert [status.rule.name for status in engine.status()] == ["kept", "new"]


def test_late_packets_are_counted_and_left_out() -> None:
    engine = Engine([one_rule(over="1s", having="packets >= 2")])
    assert run(engine, udp([0.0, 5.0, 0.05])) == []
    assert engine.status()[0].late == 1


def test_packets_within_the_lateness_count_in_any_order() -> None:
    events = run(Engine([one_rule(over="1s", having="packets >= 3")]), udp([0.0, 0.9, 0.1]))
    assert [(e.state, at_s(e.at_ns)) for e in events] == [("firing", 1.0), ("resolved", 1.1)]


def test_time_that_goes_back_far_starts_anew() -> None:
    rule = one_rule(over="1s", having="packets >= 500")
    times = [1_000 + i / 1_000 for i in range(1_000)] + [i / 1_000 for i in range(1_000)]
    events = run(Engine([rule]), udp(times))
    assert [(e.state, at_s(e.at_ns)) for e in events] == [
        ("firing", 1_000.5), ("resolved", 1_001.6), ("firing", 0.5), ("resolved", 1.6),
    ]  # fmt: skip


def test_a_packet_from_the_future_does_not_silence_the_rules() -> None:
    rule = one_rule(over="1s", having="packets >= 500")
    times = [i / 1_000 for i in range(1_100)] + [9e7] + [2 + i / 1_000 for i in range(1_000)]
    assert [at_s(e.at_ns) for e in run(Engine([rule]), udp(times)) if e.state == "firing"] == [0.5, 2.5]


@pytest.mark.parametrize("ts", [0, -(2**63), 2**63 - 1])
def test_forged_times_do_no_harm(ts: int) -> None:
    engine = Engine(read_rules(BUILTIN))
    content = [tcp_frame("10.0.0.1", "10.0.0.2", 1, port, flags=2) for port in range(1, 30)]
    run(engine, Frames.from_list(content, [ts, START_NS] * 14 + [ts]))
    assert "broken" not in {status.state for status in engine.status()}


def test_time_goes_on_without_packets_when_told() -> None:
    engine = Engine(read_rules(BUILTIN))
    packets = block(scan("10.0.0.66", "10.0.0.2", 30))
    assert engine.take(packets, 0, packets.length, INTERFACES) == []
    assert engine.newest_ns == START_NS + 29 * SECOND // 20
    assert engine.advance(START_NS + SECOND - 1 + LATENESS_NS) == []
    (firing,) = engine.advance(START_NS + SECOND + LATENESS_NS)
    assert (firing.state, at_s(firing.at_ns)) == ("firing", 1.0)
    assert engine.advance(0) == []
    (resolved,) = engine.advance(START_NS + 60 * SECOND)
    assert (resolved.state, at_s(resolved.at_ns)) == ("resolved", 11.0)
    packets = block(scan("10.0.0.66", "10.0.0.2", 30, start_s=20.0))
    assert engine.take(packets, 0, packets.length, INTERFACES) == engine.finish() == []
    assert engine.status()[0].late == 30


def test_keys_are_bounded_and_what_is_left_out_is_counted() -> None:
    engine = Engine([one_rule(by="[src_ip]", over="10s", having="packets >= 1")], max_keys=100)
    content = [udp_frame(f"10.1.{i >> 8}.{i & 255}", "10.0.0.2", 1, 2) for i in range(1_000)]
    events = run(engine, Frames.from_list(content, [START_NS] * 1_000))
    assert len({e.key["src_ip"] for e in events}) == 100
    assert engine.status()[0].missed_keys == 900
    later = run(engine, udp([100.0]))
    assert [e.state for e in later] == ["firing", "resolved"]


def test_a_rule_that_breaks_is_switched_off_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    good, bad = one_rule(over="1s"), one_rule(name="bad", over="1s", having="packets >= 1 and mean(orig_len) > 0")
    engine = Engine([bad, good])
    packets = block(udp([0.0, 3.0]))
    before = engine.take(packets, 0, packets.length, INTERFACES)
    assert [(e.rule.name, e.state) for e in before] == [("bad", "firing"), ("tested", "firing")] + [
        ("bad", "resolved"), ("tested", "resolved"),
    ]  # fmt: skip

    def broken(*_: object) -> None:
        raise ZeroDivisionError("no good")

    monkeypatch.setattr("aishark_panel.alerts.measures.quantity", broken)
    packets = block(udp([4.0, 8.0]))
    after = engine.take(packets, 0, packets.length, INTERFACES)
    assert {e.rule.name for e in after if e.state == "firing"} == {"tested"}
    status = engine.status()[0]
    assert (status.state, status.reason) == ("broken", "switched off by an error: ZeroDivisionError: no good")
    assert [(e.rule.name, e.state) for e in engine.finish()] == [("tested", "firing"), ("tested", "resolved")]


def test_a_rule_that_is_off_sees_nothing() -> None:
    engine = Engine([one_rule(enabled="false")])
    assert run(engine, udp([0.0])) == []
    assert engine.status()[0].state == "off"


PACKET = st.tuples(
    st.sampled_from([0, 0, 30, 90, 350, 900, -50, -400, -950, 1_600, 4_000, 12_000]),  # ms after the packet before
    st.integers(0, 3),  # source
    st.integers(1, 6),  # port
)


@settings(max_examples=60, deadline=None)
@given(packets=st.lists(PACKET, min_size=8, max_size=80), sizes=st.lists(st.integers(1, 20), max_size=20))
def test_any_batches_give_the_alerts_of_the_definition(packets: list[tuple[int, int, int]], sizes: list[int]) -> None:
    times_ms = np.cumsum([step for step, _, _ in packets])
    content = [udp_frame(f"10.0.0.{source}", "10.0.0.9", 1, port) for _, source, port in packets]
    times_ns = [START_NS + int(t) * 1_000_000 for t in times_ms]
    frames = Frames.from_list(content, times_ns)
    rules = [
        one_rule(name="ports", by="[src_ip]", over="3s", having="nunique(dst_port) >= 3", for_="500ms"),
        one_rule(name="all", over="1s", having="packets >= 3"),
        one_rule(name="held", over="1s", having="packets >= 3", keep_firing_for="300ms", rearm="2s"),
    ]
    whole, chopped = run(Engine(rules), frames), run(Engine(rules), frames, sizes)
    assert described(chopped) == described(whole)
    seen = [(e.rule.name, e.key.get("src_ip"), e.state, e.at_ns) for e in whole]
    rows = [(ts, f"10.0.0.{source}", port) for ts, (_, source, port) in zip(times_ns, packets, strict=True)]
    by_definition = expected("ports", 3 * SECOND, rows, for_ns=SECOND // 2) + expected("all", SECOND, rows)
    by_definition += expected("held", SECOND, rows, keep_ns=3 * SECOND // 10, rearm_ns=2 * SECOND)
    assert sorted(seen, key=str) == sorted(by_definition, key=str)


def expected(
    name: str, over_ns: int, rows: list[tuple[int, str, int]], *, for_ns: int = 0, keep_ns: int = 0, rearm_ns: int = 0
) -> list[tuple[Any, ...]]:
    """The rules above, as docs/rules.md defines them, over every window one by one."""
    step_ns = over_ns // 10
    newest, on_time = 0, []
    for ts, source, port in rows:
        newest = max(newest, ts)
        if ts // step_ns >= (newest - LATENESS_NS) // step_ns:
            on_time.append((ts // step_ns, source if name == "ports" else None, port))
    events: list[tuple[Any, ...]] = []
    first, last = min(b for b, _, _ in on_time), max(b for b, _, _ in on_time)
    for key in {source for _, source, _ in on_time}:
        since = met_at = armed = hold = 0
        fired: list[int] = []
        is_firing = False
        for bucket in range(first, last + 60):
            window = [port for b, source, port in on_time if source == key and bucket - 10 < b <= bucket]
            met = len(set(window)) >= 3 if name == "ports" else len(window) >= 3
            end_ns = (bucket + 1) * step_ns
            if met and not since and end_ns >= armed:
                since = end_ns
                if for_ns:
                    events.append((name, key, "pending", end_ns))
            if met and since:
                met_at = end_ns
                if not is_firing and end_ns - since >= for_ns:
                    is_firing, fired = True, [*fired, end_ns]
                    flapping = len(fired) >= 3 and end_ns - fired[-3] <= 10 * over_ns
                    hold = max(keep_ns, over_ns) if flapping else keep_ns
                    events.append((name, key, "firing", end_ns))
            elif since and end_ns - met_at > (hold if is_firing else 0):
                events.append((name, key, "resolved", end_ns))
                armed = end_ns + rearm_ns if is_firing else armed
                since, is_firing = 0, False
    return events


def test_a_forged_time_does_not_fire_in_a_later_capture() -> None:
    engine = Engine([one_rule(by="[src_ip]", over="10s", having="packets >= 50")])
    forged = Frames.from_list([udp([0.0]).frame(0)] * 60, [2**62 + 5] * 60)
    run(engine, forged)
    assert engine.status()[0].keys == 0
    assert run(engine, udp([float(i) for i in range(30)], source="10.9.9.9")) == []


def test_a_rule_that_differs_only_in_type_is_another() -> None:
    on, off = (parse_rule({"name": "a", "by": ["dst_port"], "mute": [{"dst_port": value}]}, "x") for value in (1, "1"))
    engine = Engine([on])
    engine.replace([off])
    assert engine.status()[0].rule is off
