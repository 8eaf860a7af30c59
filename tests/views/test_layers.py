"""Where fields are: scapy's places against tshark's; what columns they are; and tools that misbehave."""

import stat
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.dns import DNS, DNSQR, DNSRR
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from aishark_panel.capturefile import open_capture
from aishark_panel.query.parser import parse
from aishark_panel.query.syntax import Number
from aishark_panel.views import tshark
from aishark_panel.views.layers import layer_tree
from aishark_panel.views.nodes import MAX_NODES, condition, offered
from aishark_panel.views.tshark import Tshark
from tests.views.hub import frame, wait

ETHERNET = 1
COMMON = ("eth.", "ip.", "ipv6.", "tcp.", "udp.")

Places = dict[str, list[tuple[int, int]]]


def walk(nodes: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for node in nodes:
        yield node
        yield from walk(node.get("fields", ()))


def keyed(nodes: list[dict[str, Any]]) -> Places:
    """Places of the common headers' fields that have a Wireshark name: start, length."""
    found: Places = {}
    for node in walk(nodes):
        if "start" in node and node.get("key", "").startswith(COMMON):
            found.setdefault(node["key"], []).append((node["start"], node["length"]))
    return found


def sample(path: Path, count: int) -> list[tuple[bytes, int, int]]:
    """Frames of a capture with their link types and lengths on the wire."""
    found: list[tuple[bytes, int, int]] = []
    with open_capture(path) as file:
        for batch in file:
            for k in range(len(batch)):
                data = batch.data[batch.offsets[k] : batch.offsets[k + 1]].tobytes()
                found.append((data, file.interfaces[batch.iface[k]].link_type, int(batch.orig_len[k])))
    return list(islice(found, 0, None, max(1, len(found) // count)))[:count]


def test_places_are_those_of_tshark(shared_captures: Path, require_tool: Callable[[str], str]) -> None:
    deep = Tshark(require_tool("tshark"))
    both = 0
    for name in ("ja4/tls3.pcapng", "PcapPlusPlus/sll.pcap", "PcapPlusPlus/four_ipv6_http_streams.pcap"):
        for data, link_type, orig_len in sample(shared_captures / name, 2):
            ours, theirs = keyed(layer_tree(data, link_type)), keyed(wait(deep.layers(data, link_type, orig_len)))
            shared = set(ours) & set(theirs)
            assert {key: ours[key] for key in shared} == {key: theirs[key] for key in shared}
            both += len(shared)
    assert both > 50


def test_bits_of_a_byte_are_told_apart() -> None:
    ip = layer_tree(frame("tcp"), ETHERNET)[1]
    bits = {f["name"]: (f.get("start"), f.get("length"), f.get("bits")) for f in ip["fields"]}
    assert bits["version"] == (14, 1, "0100 ....")
    assert bits["ihl"] == (14, 1, ".... 0101")
    assert bits["frag"] == (20, 2, "...0 0000 0000 0000")
    assert bits["ttl"] == (22, 1, None)


def test_fields_within_fields_have_places_too() -> None:
    questions = DNS(qd=[DNSQR(qname="a.test"), DNSQR(qname="bb.test")], an=[DNSRR(rrname="a.test", rdata="10.0.0.9")])
    data = bytes(Ether() / IP() / UDP(sport=53) / questions)
    fields = {field["name"]: field for field in layer_tree(data, ETHERNET)[-1]["fields"]}
    first, second = fields["qd"]["fields"]
    of_names = [field for question in (first, second) for field in question["fields"] if field["name"] == "qname"]
    names = [data[field["start"] : field["start"] + field["length"]] for field in of_names]
    assert names == [b"\x01a\x04test\0", b"\x02bb\x04test\0"]
    assert first["start"] + first["length"] == second["start"]
    assert second["start"] + second["length"] == fields["an"]["start"]
    assert fields["an"]["start"] + fields["an"]["length"] == len(data)


def test_a_field_that_is_a_column_offers_its_condition() -> None:
    packet = {"src_ip": "10.0.0.1", "dst_ip": "10.0.0.53", "ip_ttl": 64, "dst_port": 53, "dns_query": "a.test"}
    layers = offered(layer_tree(frame("dns"), ETHERNET), packet)
    conditions = {node["filter"] for node in walk(layers) if "filter" in node}
    assert conditions == {
        "src_ip == '10.0.0.1'",
        "dst_ip == '10.0.0.53'",
        "ip_ttl == 64",
        "dst_port == 53",
        "dns_query == 'a.test'",
    }
    assert not [node for node in walk(layers) if "key" in node or "is" in node]


def test_a_column_of_another_packet_in_the_tunnel_is_not_offered() -> None:
    inner = {"inner_src_ip": "10.0.0.1", "src_ip": "192.0.2.1"}
    layers = offered(layer_tree(frame("dns"), ETHERNET), inner)
    assert {node["filter"] for node in walk(layers) if "filter" in node} == {"inner_src_ip == '10.0.0.1'"}


@pytest.mark.parametrize("value", ['a"b', "a\\b", "\\", "new\nline", '\\" or number > 0 or "', "é\x00", 7])
def test_a_condition_means_the_value_whatever_it_is(value: object) -> None:
    parsed: Any = parse(condition("http_path", value))
    (operator,), (name, literal) = parsed.operators, parsed.operands
    assert (operator, name.text) == ("==", "http_path")
    assert (literal.value if isinstance(literal, Number) else literal.text) == value


def test_a_packet_of_very_many_fields_is_cut() -> None:
    options = DNS(qd=[DNSQR(qname="a.test")] * 1_000)
    tree = layer_tree(bytes(Ether() / IP() / UDP(dport=53) / options), ETHERNET)
    assert len(list(walk(tree))) <= MAX_NODES + 40


def tool(tmp_path: Path, script: str) -> Tshark:
    """A command in tshark's place."""
    path = tmp_path / "tshark"
    path.write_text(f"#!/bin/sh\n{script}\n", "utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return Tshark(str(path))


def test_a_tshark_that_hangs_floods_or_fails_is_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tshark, "_LIMIT_S", 0.3)
    monkeypatch.setattr(tshark, "_MAX_OUTPUT_BYTES", 100_000)
    for script in ("exec sleep 60", "exec cat /dev/zero", "exit 3", "echo '<pdml><packet>'", "echo '<pdml/>'"):
        assert wait(tool(tmp_path, script).layers(frame("tcp"), ETHERNET, 100)) == []
    assert wait(Tshark(str(tmp_path / "nothing")).layers(frame("tcp"), ETHERNET, 100)) == []


def test_places_in_bytes_that_tshark_made_are_left_out(tmp_path: Path) -> None:
    pdml = tmp_path / "pdml"
    field = '<field name="ip.src" show="1" pos="0" size="1" value="{}"/>'
    real = f'<proto name="ip" showname="IP" pos="0" size="4">{field}</proto>'
    data = frame("tcp")
    for raw, has_place in ((f"{data[0]:02x}", True), ("77", False)):
        pdml.write_text(f"<pdml><packet>{real.format(raw)}</packet></pdml>", "utf-8")
        (layer,) = wait(tool(tmp_path, f"cat > /dev/null; cat {pdml}").layers(data, ETHERNET, 100))
        assert ("start" in layer, "start" in layer["fields"][0]) == (has_place, has_place)


def test_the_same_packet_is_read_once(tmp_path: Path) -> None:
    counted = tool(tmp_path, f"cat > /dev/null; echo x >> {tmp_path}/runs; echo '<pdml><packet/></pdml>'")
    for _ in range(3):
        wait(counted.layers(frame("tcp"), ETHERNET, 100))
    wait(counted.layers(frame("dns"), ETHERNET, 100))
    assert (tmp_path / "runs").read_text("utf-8").count("x") == 2
