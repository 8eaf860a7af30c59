"""What packets add up to: each aggregate is what pandas makes of the table of the same packets."""

import dataclasses
import itertools
import random
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Raw

from aishark_panel.agent.synthetic import make_trace
from aishark_panel.errors import ConfigError, ExpressionError
from aishark_panel.query.comparisons import PRIVATE
from aishark_panel.streams import aggregates, groupings, queries, summaries
from aishark_panel.streams.addresshash import address_hash
from aishark_panel.streams.groupings import GROUPINGS, GroupedBins
from aishark_panel.streams.queries import METHODS
from aishark_panel.streams.session import Session
from aishark_panel.wire.frames import Frames
from tests.traffic import hello

START_NS = 1_700_000_000_000_000_000
PROBLEM_BITS = {
    "retransmission": 1,
    "lost segment": 0x30,
    "out of order": 8,
    "duplicate ack": 0x40,
    "zero window": 0x80,
}
SUMS = ["packets", "bytes"]


def own_frames() -> list[bytes]:
    """What synthetic traffic lacks: tags, IPv6, refusals, SYNs sent again, packets without addresses."""
    ether = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
    ends = IP(src="10.9.0.1", dst="10.9.0.2")
    made = []
    for k in range(40):
        syn = ether / ends / TCP(sport=2_000 + k, dport=81, flags="S", seq=7)
        made += [syn, syn] if k % 4 == 0 else [syn]
        if k % 3 == 0:
            made.append(ether / IP(src="10.9.0.2", dst="10.9.0.1") / TCP(sport=81, dport=2_000 + k, flags="RA", ack=8))
        made.append(ether / Dot1Q(vlan=7) / IPv6(src=f"fd00::{k % 5 + 1}", dst="fd00::99") / UDP(sport=9, dport=9_999))
        made.append(ether / ARP(psrc="10.9.0.1", pdst="10.9.0.2"))
        made.append(Ether(type=0x88B5) / Raw(b"x" * 46))
    return [bytes(packet) for packet in made]


class Lab:
    """A session of two agents with two interfaces each, fed in pieces, and the table of what it holds."""

    def __init__(self) -> None:
        self.session = Session("5e55", "lab", ring_bytes=256 * 2**20)
        self._runs = [
            self.session.runs.attach(hello("eth0", "eth1", agent=name, run=name[0] * 32)) for name in ("edge", "core")
        ]
        self._sequence = itertools.count(1)
        own = own_frames()
        times = [START_NS + k * 400_000_000 for k in range(len(own))]
        self.pieces = [*make_trace(20_000, rate_pps=500), Frames.from_list(own, times)]

    def take(self, frames: Frames) -> None:
        number = next(self._sequence)
        frames = dataclasses.replace(frames, iface=np.arange(len(frames), dtype=np.uint16) % 2)
        self.session.ingest(self._runs[number % 2], frames, number, {})

    def ask(self, method: str, **params: Any) -> tuple[dict[str, Any], Any]:
        info, body = METHODS[method](self.session, params)
        return info, pa.ipc.open_stream(body).read_all().to_pandas(integer_object_nulls=True) if len(
            body
        ) else pd.DataFrame()

    def table(self, where: str = "") -> Any:
        """All packets that match, with the columns that the oracles group by."""
        pieces: list[Any] = []
        end = self.session.ring.end
        while end > self.session.ring.first:
            info, piece = self.ask("table", end=end, count=65_536, where=where)
            pieces.insert(0, piece.astype({c: object for c in piece.select_dtypes("category")}))
            end = info["first"]
        table: Any = pd.concat(pieces, ignore_index=True)
        problem = table.tcp_problem.fillna(0).astype(int)
        table["problem"] = "none"
        for name, bits in reversed(PROBLEM_BITS.items()):
            table.loc[problem & bits != 0, "problem"] = name
        table["interface"] = table.agent + "/" + table.iface
        table["host"] = table.src_ip.fillna("other")
        flags, again = table.tcp_flags.fillna(-1).astype(int), problem & 1 != 0
        syn, rst, ack = (flags & bit != 0 for bit in (2, 4, 16))
        role = pd.Series("segment", table.index).mask(syn & ack, "accepted").mask(again, "retransmission")
        role = role.mask(rst, "reset").mask(rst & ack & (table.tcp_seq == 0), "refused")
        role = role.mask(syn & ~ack, "attempt").mask(syn & ~ack & again, "repeated attempt")
        table["tcp"] = role.mask(flags < 0)
        table["packets"], table["bytes"] = 1, table.orig_len.astype("int64")
        table["ns"] = table.ts.astype("int64")
        return table


@pytest.fixture(scope="module")
def lab() -> Lab:
    made = Lab()
    for piece in made.pieces:
        made.take(piece)
    return made


def wheres() -> Iterator[str]:
    """Random conditions, and those that are everything and nothing."""
    yield from ("tcp", "udp or arp", "orig_len > 100_000", "not malformed")
    dice = random.Random(7)
    for _ in range(8):
        lines = [
            "dns", "tls", "tcp_problem != 0", "arp", "ip_version == 6", f"src_port > {dice.randrange(60_000)}",
            f"orig_len < {dice.randrange(60, 1_500)}", "agent == 'edge'", "iface == 'eth1'", "ip_ttl < 100",
            f"ts < '2023-11-14T22:13:{dice.randrange(30, 59)}Z'",
        ]  # fmt: skip
        one, other = dice.sample(lines, 2)
        yield f"{dice.choice(['', 'not '])}({one}) {dice.choice(['and', 'or'])} {other}"


@pytest.mark.parametrize("where", ["", *wheres()])
def test_traffic_by_time_and_group(lab: Lab, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groupings, "_MAX_HOSTS", 2_000)  # so that all are told apart
    monkeypatch.setattr(groupings, "_SLOTS", 8_192)
    table = lab.table(where)
    for by in GROUPINGS:
        same_traffic(lab, table, by, where)


def same_traffic(lab: Lab, table: Any, by: str, where: str) -> None:
    for resolution_ms, kept in ((100, 3_000), (1_000, 3_700), (60_000, 1_440)):
        info, found = lab.ask("rollup", resolution_ms=resolution_ms, where=where, by=by)
        table["bin"] = table.ns // (resolution_ms * 10**6)
        first = found.bin.max() - kept + 1 if len(found) else 0
        expected = table[table.bin >= first].groupby(["bin", by], observed=True)[SUMS].sum()
        assert info["complete"]
        if resolution_ms > 100 or by != "tcp":  # with 100 ms the oldest bins are gone, and not all have TCP in them
            assert found.groupby(["bin", by], observed=True)[SUMS].sum().to_dict() == expected.to_dict()
        assert found.bin.is_monotonic_increasing
        later = int(table.bin.median()) if len(table) else 0
        _, rest = lab.ask("rollup", resolution_ms=resolution_ms, where=where, by=by, since=later)
        assert rest.bytes.sum() == found.bytes[found.bin >= later].sum()


@pytest.mark.parametrize("where", ["", *wheres()])
def test_conversations_and_endpoints(lab: Lab, where: str) -> None:
    table = lab.table(where)
    table = table[table.ip_version.notna()]
    info, found = lab.ask("conversations", where=where, limit=1_000, sort="packets")
    by_id = table.groupby("conversation_id")
    sizes = by_id.packets.sum().sort_values(ascending=False)
    assert info["total"] == len(sizes)
    assert (found.packets_ab + found.packets_ba).tolist() == sizes.tolist()[:1_000]
    for row in found.sample(min(20, len(found)), random_state=1).itertuples():
        mine = by_id.get_group(row.conversation_id)
        from_a = mine[(mine.src_ip == row.addr_a) & (mine.src_port.fillna(0) == row.port_a)]
        assert (row.packets_ab, row.bytes_ab) == (len(from_a), from_a.bytes.sum())
        assert row.bytes_ab + row.bytes_ba == mine.bytes.sum()
        assert (row.first_ts, row.last_ts) == (mine.ns.min(), mine.ns.max())
        again = int((mine.problem == "retransmission").sum())
        assert row.retransmissions_ab + row.retransmissions_ba == again
    info, ends = lab.ask("endpoints", where=where, limit=1_000, sort="bytes_received")
    sent, received = (table.groupby(side)[SUMS].sum() for side in ("src_ip", "dst_ip"))
    assert info["total"] == len(set(sent.index) | set(received.index))
    assert ends.bytes_received.is_monotonic_decreasing
    for row in ends.itertuples():
        for totals, there in (
            (sent, (row.packets_sent, row.bytes_sent)),
            (received, (row.packets_received, row.bytes_received)),
        ):
            assert there == (tuple(totals.loc[row.address]) if row.address in totals.index else (0, 0))


@pytest.mark.parametrize("where", ["", *wheres()])
def test_the_layer_tree_holds_each_packet_once_a_level(lab: Lab, where: str) -> None:
    table = lab.table(where)
    info, _ = lab.ask("hierarchy", where=where)
    lines = info["layers"]
    assert sum(line["packets"] for line in lines if line["depth"] == 0) == len(table)
    for name, of in (
        ("ARP", table.protocol == "ARP"),
        ("IPv4", (table.ip_version == 4)),
        ("IPv6", (table.ip_version == 6)),
        ("VLAN", table.vlan_id.notna()),
        ("TCP", table.tcp_flags.notna()),
        ("DNS", table.protocol == "DNS"),
    ):
        assert sum(line["bytes"] for line in lines if line["name"] == name) == table.bytes[of].sum(), name
    for line, following in itertools.pairwise(lines):
        assert following["depth"] <= line["depth"] + 1
        if following["depth"] > line["depth"]:
            assert following["packets"] <= line["packets"]


@pytest.mark.parametrize("where", ["", "tls", "tcp_problem != 0"])
def test_handshake_times_are_those_of_the_conversations(lab: Lab, where: str) -> None:
    _, found = lab.ask("conversations", where=where, limit=1_000, sort="rtt")
    seen = found.handshake_rtt_ns.dropna().astype("int64")
    info, _ = lab.ask("tcp_health", where=where)
    assert 0 < info["handshakes"] == len(seen) < 1_000
    assert info["rtt_p50_ns"] == int(seen.quantile(0.5))
    assert info["rtt_p95_ns"] == int(seen.quantile(0.95))
    middle = int(lab.session.first_ts + lab.session.last_ts) // 2
    assert lab.ask("tcp_health", where=where, since_ns=middle)[0]["handshakes"] < len(seen)


def test_a_partial_answer_says_so_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aggregates, "SUMMARY_ROWS", 3_000)
    lab = Lab()
    for piece in lab.pieces:
        lab.take(piece)
    for where, by in (("", "host"), ("udp", "protocol")):
        shown = []
        for _ in range(20):
            info, found = lab.ask("rollup", resolution_ms=60_000, where=where, by=by)
            shown.append(found.packets.sum())
            if info["complete"]:
                break
        assert len(shown) > 2
        assert shown == sorted(shown)
        assert shown[-1] == len(lab.table(where))


def test_only_new_packets_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    lab, seen = Lab(), []
    plain = GroupedBins.count

    def count(self: Any, packets: Any, rows: Any, interfaces: Any) -> None:
        seen.append(len(rows))
        plain(self, packets, rows, interfaces)

    monkeypatch.setattr(GroupedBins, "count", count)
    for piece in lab.pieces:
        lab.take(piece)
        for _ in range(3):
            lab.ask("rollup", by="agent")
            lab.ask("rollup", by="agent", where="tcp")
    assert sum(seen) == lab.session.packets + len(lab.table("tcp"))


def test_summaries_of_many_questions_stay_within_their_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = Lab()
    for frames in lab.pieces:
        lab.take(frames)
    monkeypatch.setattr(summaries, "MAX_BYTES", 2**20)
    for port in range(30):
        where = f"src_port != {port}"
        info, first = aggregates.conversations(lab.session, 5, where, "bytes")
        assert lab.session.summaries.nbytes <= 2 * 2**20
        aggregates.rollup(lab.session, 1_000, 0, where, "host")
    again, same = aggregates.conversations(lab.session, 5, where, "bytes")
    assert same.equals(first)
    assert again["total"] == info["total"]


def test_what_was_cleared_is_not_counted(lab: Lab) -> None:
    other = Lab()
    other.take(other.pieces[0])
    for params in ({"by": "host"}, {"by": "host", "where": "tcp"}, {"by": "problem"}):
        assert len(other.ask("rollup", **params)[1])
    other.session.clear()
    for params in ({"by": "host"}, {"by": "host", "where": "tcp"}, {"by": "problem"}):
        assert len(other.ask("rollup", **params)[1]) == 0
    assert len(other.ask("conversations", where="tcp")[1]) == 0


def test_many_hosts_leave_the_busy_ones_in_sight() -> None:
    lab = Lab()
    ether = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
    strangers = [bytes(ether / IP(src=f"172.16.{k // 250}.{k % 250 + 1}", dst="10.0.0.9") / UDP()) for k in range(700)]
    busy = bytes(ether / IP(src="10.7.7.7", dst="10.0.0.9") / UDP() / Raw(b"x" * 900))
    for k in range(0, 700, 50):
        batch = [frame for stranger in strangers[k : k + 50] for frame in (stranger, *[busy] * (k > 300))]
        lab.take(Frames.from_list(batch, [START_NS + k * 10**7 + i for i in range(len(batch))]))
        _, found = lab.ask("rollup", by="host", resolution_ms=1_000)
    assert found.packets.sum() == lab.session.packets
    assert found.bytes.sum() == lab.session.bytes
    assert found.groupby("host", observed=True).bytes.sum().idxmax() == "10.7.7.7"
    assert found.host.nunique() <= 65


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("rollup", {"by": "colour"}),
        ("rollup", {"resolution_ms": 7}),
        ("conversations", {"sort": "beauty"}),
        ("endpoints", {"sort": "beauty"}),
    ],
)
def test_what_does_not_exist_is_refused(lab: Lab, method: str, params: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        lab.ask(method, **params)


@pytest.mark.parametrize(
    ("method", "having"),
    [
        ("conversations", "packets_ab > 2 and bytes_ba < 10_000"),
        ("conversations", "bytes_ab + bytes_ba > 2 * 1_500 or port_b in [53, 80, 443]"),
        ("conversations", "protocol in ['TCP', 'DNS'] and not retransmissions_ab > 0"),
        ("conversations", "handshake_rtt_ns > 1_000_000 and last_ts_ns - first_ts_ns >= 0"),
        ("endpoints", "conversations > 2 & packets_sent >= packets_received"),
        ("endpoints", "bytes_sent / packets_sent > 200 and address != '10.0.0.1'"),
        ("rollup", "packets > 5 and protocol != 'TCP'"),
        ("rollup", "bytes / packets > 500 or protocol.str.startswith('D')"),
    ],
)
@pytest.mark.parametrize("where", ["", "udp or tcp"])
def test_rows_of_a_table_are_chosen_as_pandas_does(
    lab: Lab, method: str, having: str, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "MAX_ROWS", 100_000)
    by_pandas = having.replace("last_ts_ns", "last_ts").replace("first_ts_ns", "first_ts")
    ours = having.replace("last_ts_ns - first_ts_ns", "duration_ns")
    bound = {} if method == "rollup" else {"limit": 100_000}
    _, everything = lab.ask(method, where=where, **bound)
    expected = everything.astype({"protocol": str} if "protocol" in everything else {}).query(by_pandas)
    info, found = lab.ask(method, where=where, having=ours, **bound)
    assert found.to_dict("list") == everything.loc[expected.index].to_dict("list")
    assert 0 < len(found) < len(everything)
    if method != "rollup":
        assert info["total"] == len(found)


NETWORKS = [ip_network(text) for text in PRIVATE]


def test_names_of_both_directions_mean_either_or_their_sum(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries, "MAX_ROWS", 100_000)
    _, found = lab.ask("conversations", limit=100_000)
    private = found[["addr_a", "addr_b"]].map(lambda each: any(ip_address(each) in net for net in NETWORKS)).any(axis=1)
    for having, expected in (
        ("is_private(addr)", private),
        ("not is_private(addr_a) and not is_private(addr_b)", ~private),
        ("packets > 10", found.packets_ab + found.packets_ba > 10),
        ("port == 53", (found.port_a == 53) | (found.port_b == 53)),
        ("addr == ::/0", found.addr_a.str.contains(":")),
    ):
        _, chosen = lab.ask("conversations", limit=100_000, having=having)
        assert chosen.conversation_id.tolist() == found[expected].conversation_id.tolist()
        assert 0 < len(chosen) < len(found), having


@pytest.mark.parametrize("method", ["rollup", "conversations", "endpoints"])
@pytest.mark.parametrize("having", ["packets >", "tcp_flags == 2", "frame contains 'x'", "packets == 'x'", "dns"])
def test_what_the_table_does_not_have_is_refused(lab: Lab, method: str, having: str) -> None:
    with pytest.raises(ExpressionError):
        lab.ask(method, having=having)


@pytest.mark.parametrize("method", ["rollup", "conversations", "endpoints", "hierarchy", "tcp_health"])
def test_a_wrong_expression_is_refused(lab: Lab, method: str) -> None:
    with pytest.raises(ExpressionError):
        lab.ask(method, where="tcp and")


def test_a_partial_table_is_not_the_answer_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aggregates, "SUMMARY_ROWS", 8_000)
    lab = Lab()
    for piece in lab.pieces:
        lab.take(piece)
    lab.session.rates.mark(1.0, 0, 0)
    totals = []
    while not (found := lab.ask("endpoints", where="tcp"))[0]["complete"]:
        totals.append(found[0]["total"])
    assert totals
    assert found[0]["total"] > totals[0]
    lab.take(Frames.from_list(own_frames(), [START_NS] * len(own_frames())))
    assert lab.ask("endpoints", where="tcp")[0] == found[0]  # the same moment
    lab.session.rates.mark(1.25, 0, 0)
    assert lab.ask("endpoints", where="tcp")[0]["scanned_to"] > found[0]["scanned_to"]


@pytest.mark.parametrize("shift", [0, 8, 32, 56])
def test_neighbours_have_different_hashes(shift: int) -> None:
    hashes = {int(address_hash(np.uint64(0), np.uint64(k << shift))) & 1_023 for k in range(250)}
    assert len(hashes) > 200
