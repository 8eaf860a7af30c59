"""One packet in full: layers, fields and their bytes, and nothing that hostile bytes could break."""

import asyncio
import json
from operator import itemgetter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aishark_panel.views.feed import Feed
from aishark_panel.views.layers import layer_tree
from aishark_panel.views.nodes import MAX_VALUE_CHARS
from aishark_panel.views.packet_detail import MAX_SHOWN_BYTES, PacketDetail
from aishark_panel.views.tshark import Tshark
from tests.views.hub import MemoryHub, frame, wait

ETHERNET = 1


def test_layers_cover_the_frame_from_end_to_end() -> None:
    layers = layer_tree(frame("dns"), ETHERNET)
    assert [layer["name"] for layer in layers] == ["Ethernet", "IP", "UDP", "DNS"]
    at = 0
    for layer in layers:
        assert layer["start"] == at
        at += layer["length"]
    assert at == len(frame("dns"))


def test_fields_know_their_bytes() -> None:
    ip = layer_tree(frame("tcp"), ETHERNET)[1]
    places = {field["name"]: (field.get("start"), field.get("length"), field["value"]) for field in ip["fields"]}
    assert places["ttl"] == (22, 1, "64")
    assert places["src"][:2] == (26, 4)
    assert places["dst"] == (30, 4, "10.0.0.2")
    assert places["version"][:2] == places["ihl"][:2] == (14, 1)


def test_a_link_type_without_a_decoder_is_said() -> None:
    (layer,) = layer_tree(b"\x01\x02", 65_000)
    assert "65000" in layer["summary"]


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200), st.sampled_from(["tcp", "dns", "arp"]), st.integers(0, 60))
def test_hostile_bytes_end_the_tree_and_nothing_else(noise: bytes, kind: str, keep: int) -> None:
    data = frame(kind)[:keep] + noise
    layers = layer_tree(data, ETHERNET)
    for layer in layers:
        assert 0 <= layer["start"] <= layer["start"] + layer["length"] <= len(data)
        assert len(layer["summary"]) <= MAX_VALUE_CHARS + 40
        for field in layer["fields"]:
            assert len(field["value"]) <= MAX_VALUE_CHARS + 40
            assert field.get("start", 0) + field.get("length", 0) <= len(data)


def test_a_selected_packet_is_shown(hub: MemoryHub, feed: Feed) -> None:
    hub.add(["tcp", "dns"])
    wait(feed.pull())
    detail = PacketDetail(feed)
    wait(detail.look_at(2))
    state = detail.root.drawn
    assert (state["number"], state["protocol"], state["family"]) == (2, "DNS", "dns")
    assert state["time"] == "2023-11-14 22:13:21.000000000 UTC"
    assert bytes.fromhex(state["hex"]) == frame("dns")[:MAX_SHOWN_BYTES]


def test_names_that_other_tools_know_are_shown(hub: MemoryHub, feed: Feed) -> None:
    hub.add(["dns", "arp"])
    wait(feed.pull())
    detail = PacketDetail(feed)
    wait(detail.look_at(1))
    (name,) = detail.root.drawn["names"]
    assert (name["name"], name["text"][:2]) == ("Community ID", "1:")
    wait(detail.look_at(2))
    assert detail.root.drawn["names"] == []


def test_a_packet_whose_frame_the_agent_kept_is_shown_by_its_columns(hub: MemoryHub, feed: Feed) -> None:
    hub.add(["tcp", "dns"], payload="none")
    wait(feed.pull())
    detail = PacketDetail(feed)
    wait(detail.look_at(2))
    state = detail.root.drawn
    assert state["note"] == "The agent sent no bytes of this packet, only its columns."
    assert (state["hex"], state["protocol"], state["orig_len"]) == ("", "DNS", len(frame("dns")))
    (columns,) = state["layers"]
    fields = {field["name"]: field["value"] for field in columns["fields"]}
    assert fields["dst_ip"] == "10.0.0.53"
    assert fields["ts"].startswith("2023-11-14 22:13:21")
    assert "dns" in state["info"].lower() or "Standard query" in state["info"]
    assert {offer["name"] for offer in state["filters"]} == {"source", "destination", "port", "conversation"}


def test_what_is_not_shown_of_a_packet_is_said(hub: MemoryHub, feed: Feed) -> None:
    hub.add(["tcp"])
    hub.add(["dns"], payload="headers")
    wait(feed.pull())
    detail = PacketDetail(feed)
    wait(detail.look_at(1))
    assert detail.root.drawn["note"] == ""
    wait(detail.look_at(2))
    assert detail.root.drawn["note"] == f"The capture kept 42 of {len(frame('dns'))} bytes."
    assert [layer["name"] for layer in detail.root.drawn["layers"]] == ["Ethernet", "IP", "UDP"]


def test_of_two_packets_asked_for_the_last_one_wins(hub: MemoryHub, feed: Feed) -> None:
    hub.add(["tcp", "dns"])
    wait(feed.pull())
    detail = PacketDetail(feed)

    async def both() -> None:
        await asyncio.gather(detail.look_at(1), detail.look_at(2))

    wait(both())
    assert detail.root.drawn["number"] == 2


class Deep(Tshark):
    """A tshark that knows one answer."""

    async def layers(self, frame: bytes, link_type: int, orig_len: int) -> list[dict[str, Any]]:
        await asyncio.sleep(0)
        field = {"key": "ip.ttl", "is": "64", "name": "Time to Live", "value": "64", "start": 22, "length": 1}
        return [{"name": f"{len(frame)} bytes", "summary": "", "fields": [field]}] if link_type == ETHERNET else []


def test_tshark_tells_more_of_a_packet_once_it_is_ready(hub: MemoryHub, feed: Feed) -> None:
    hub.add(["tcp", "dns"])
    wait(feed.pull())
    chosen: list[str] = []

    async def add(text: str, exclude: bool) -> None:
        chosen.append(text)

    detail = PacketDetail(feed, add, tshark=Deep("tshark"))
    told: list[tuple[int, str]] = []
    detail.root.param.watch(lambda event: told.append(itemgetter("number", "by")(json.loads(event.new))), "state")

    async def pass_by() -> None:
        await asyncio.gather(detail.look_at(1), detail.look_at(2))

    wait(pass_by())
    assert (2, "scapy") in told
    assert told[-1] == (2, "tshark")
    assert (1, "tshark") not in told
    assert detail.root.drawn["layers"][0]["name"] == f"{len(frame('dns'))} bytes"
    wait(detail.root._handle_msg({"filter": "ip_ttl == 64", "exclude": False}))
    assert chosen == ["ip_ttl == 64"]


def test_an_evicted_packet_is_said_to_be_gone(hub: MemoryHub, feed: Feed) -> None:
    hub.add(["tcp"])
    wait(feed.pull())
    detail = PacketDetail(feed)
    wait(detail.look_at(99))
    assert "99" in detail.root.drawn["problem"]
    wait(detail.root._handle_msg({"close": True}))
    assert detail.root.drawn == {}


@pytest.mark.parametrize(
    ("name", "condition", "matches"),
    [
        ("source", "(src_ip == '10.0.0.1' or dst_ip == '10.0.0.1')", [1, 2, 3]),
        ("destination", "(src_ip == '10.0.0.53' or dst_ip == '10.0.0.53')", [2]),
        ("port", "(src_port == 53 or dst_port == 53)", [2]),
    ],
)
def test_what_a_packet_offers_as_filter_works(
    hub: MemoryHub, feed: Feed, name: str, condition: str, matches: list[int]
) -> None:
    hub.add(["tcp", "dns", "arp"])
    wait(feed.pull())
    chosen: list[tuple[str, bool]] = []

    async def add(text: str, exclude: bool) -> None:
        chosen.append((text, exclude))

    detail = PacketDetail(feed, add)
    wait(detail.look_at(2))
    offers = {each["name"]: each["condition"] for each in detail.root.drawn["filters"]}
    wait(detail.root._handle_msg({"filter": offers[name], "exclude": False}))
    wait(detail.root._handle_msg({"filter": "number > 0", "exclude": False}))
    assert chosen == [(condition, False)]
    batch, _ = wait(hub.rows("", 0, 10, condition, ["number"]))
    assert batch.column("number").to_pylist() == matches


def test_the_conversation_filter_finds_its_packet(hub: MemoryHub, feed: Feed) -> None:
    hub.add(["tcp", "dns"])
    wait(feed.pull())
    detail = PacketDetail(feed)
    wait(detail.look_at(2))
    offers: list[dict[str, Any]] = detail.root.drawn["filters"]
    condition = next(o["condition"] for o in offers if o["name"] == "conversation")
    batch, _ = wait(hub.rows("", 0, 10, condition, ["number"]))
    assert batch.column("number").to_pylist() == [2]
