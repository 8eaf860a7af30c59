"""Link layers, against frames made by scapy."""

import struct

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import LLC, SNAP, STP, CookedLinux, CookedLinuxV2, Dot1AD, Dot1Q, Dot3, Ether
from scapy.layers.ppp import PPP, PPPoE

from aishark_panel.dissect.link import is_dissected
from tests.dissect.rows import dissect_frames, layers, row_of

IPV4 = IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=7, dport=9) / b"payload"
IPV6 = IPv6(src="2001:db8::1", dst="2001:db8::2") / UDP(sport=7, dport=9) / b"payload"
ETHER = Ether(src="02:00:00:00:00:01", dst="ff:ff:ff:ff:ff:ff")


def test_ethernet_addresses_and_type_are_read() -> None:
    values = row_of(ETHER / IPV4)
    assert values["eth_src"] == "02:00:00:00:00:01"
    assert values["eth_dst"] == "ff:ff:ff:ff:ff:ff"
    assert values["eth_type"] == 0x0800
    assert values["vlan_id"] is None
    assert (values["src_port"], values["dst_port"]) == (7, 9)


@pytest.mark.parametrize("tags", [Dot1Q(vlan=17, prio=5), Dot1AD(vlan=17) / Dot1Q(vlan=3)], ids=["802.1Q", "QinQ"])
def test_the_outermost_vlan_tag_is_kept_and_all_are_stepped_over(tags: object) -> None:
    values = row_of(ETHER / tags / IPV4)
    assert (values["vlan_id"], values["eth_type"], values["src_ip"]) == (17, 0x0800, "10.0.0.1")


def test_a_frame_cut_in_its_vlan_tag_is_truncated() -> None:
    frame = bytes(ETHER / Dot1Q(vlan=17) / IPV4)
    values = row_of(frame[:16], orig_len=len(frame))
    assert (values["truncated"], values["malformed"], values["eth_type"]) == (True, False, None)


def test_an_ieee_802_3_frame_has_no_ethertype_and_its_padding_is_not_read() -> None:
    values = row_of(bytes(Dot3(src="02:00:00:00:00:01") / LLC() / STP()).ljust(60, b"\0"))
    assert (values["protocol"], values["eth_type"], values["malformed"]) == ("STP", None, False)


def test_snap_leads_to_the_protocol_it_names() -> None:
    values = row_of(Dot3() / LLC(dsap=0xAA, ssap=0xAA, ctrl=3) / SNAP(OUI=0, code=0x0800) / IPV4)
    assert (values["eth_type"], values["src_ip"], values["dst_port"]) == (None, "10.0.0.1", 9)


@pytest.mark.parametrize(
    ("link_type", "header"),
    [
        (0, struct.pack("<I", 2)),
        (0, struct.pack(">I", 2)),
        (108, struct.pack(">I", 2)),
        (12, b""),
        (101, b""),
        (228, b""),
        (113, bytes(CookedLinux(proto=0x0800))),
        (276, bytes(CookedLinuxV2(proto=0x0800))),
        (9, b"\xff\x03\x00\x21"),
        (50, b"\x00\x21"),
        (104, b"\x0f\x00\x08\x00"),
        (104, b"\x0f\x00\x81\x00\x00\x07\x08\x00"),
        (9, b"\x21"),
        (204, b"\x01\xff\x03\x00\x21"),
        (51, b"\x11\x00\x00\x01\x00\x25\x00\x21"),
        (0, b"\x0f\x00\x08\x00"),
        (0, b"\xff\x03\x00\x21"),
        (107, b"\x18\x41\x03\xcc"),
        (100, b"\xaa\xaa\x03\x00\x00\x00\x08\x00"),
        (226, bytes(24)),
        (242, bytes(40) + b"\x08\x00\x00\x00"),
        (239, b"\x02\x00\x00\x00" + b"\x08\x00\x01\x00\x08\x00\x00\x00" + b"\x27\x00\x09\x00"),
        (239, b"\x02\x00\x00\x00" + b"\x00\x05\x00\x0a\x00\x00\x00\x00" + b"\x00\x27\x00\x09"),
        (258, struct.pack("<III", 108, 1, 101) + bytes(96)),
    ],
)
def test_ipv4_is_found_behind_every_known_link_type(link_type: int, header: bytes) -> None:
    packets = dissect_frames(header + bytes(IPV4), link_type=link_type)
    values = row_of(header + bytes(IPV4), link_type=link_type)
    assert (values["src_ip"], values["dst_port"], values["eth_src"]) == ("10.0.0.1", 9, None)
    assert not layers(packets).name.startswith("ETH")  # type: ignore[union-attr]


@pytest.mark.parametrize("link_type", [0, 108, 12, 101, 229, 113, 276, 9, 50, 104])
def test_ipv6_is_found_behind_every_known_link_type(link_type: int) -> None:
    headers = {
        0: struct.pack("<I", 24),
        108: struct.pack(">I", 30),
        113: bytes(CookedLinux(proto=0x86DD)),
        276: bytes(CookedLinuxV2(proto=0x86DD)),
        9: b"\x00\x57",
        50: b"\xff\x03\x00\x57",
        104: b"\x0f\x00\x86\xdd",
    }
    values = row_of(headers.get(link_type, b"") + bytes(IPV6), link_type=link_type)
    assert (values["src_ip"], values["dst_port"]) == ("2001:db8::1", 9)


TAGGED = bytes(ETHER)[:12] + b"%b\x08\x00" + bytes(IPV4)


@pytest.mark.parametrize(
    ("link_type", "frame", "vlan_id"),
    [
        (281, TAGGED % bytes(4), None),
        (282, bytes(4) + bytes(ETHER / IPV4), None),
        (284, TAGGED % b"\xc0\x00\x00\x05", None),
        (284, TAGGED % b"\xe0\x00\x60\x05", 5),
        (285, TAGGED % b"\xda\xda\x00\x00\xe0\x00\x60\x05", 5),
        (258, struct.pack("<III", 12, 1, 1) + bytes(ETHER / Dot1Q(vlan=5) / IPV4), 5),
    ],
)
def test_ethernet_is_found_behind_the_tags_of_switches(link_type: int, frame: bytes, vlan_id: int | None) -> None:
    values = row_of(frame, link_type=link_type)
    assert (values["eth_src"], values["eth_type"], values["vlan_id"]) == ("02:00:00:00:00:01", 0x0800, vlan_id)
    assert (values["src_ip"], values["malformed"]) == ("10.0.0.1", False)


@pytest.mark.parametrize("link_type", [0, 9, 51, 100, 104, 107, 113, 204, 226, 239, 242, 258, 276, 281, 282, 284, 285])
def test_a_frame_cut_in_any_link_header_is_truncated_and_a_whole_one_that_short_malformed(link_type: int) -> None:
    cut, whole = row_of(b"\0", link_type=link_type, orig_len=200), row_of(b"\0", link_type=link_type)
    assert (cut["truncated"], cut["malformed"]) == (True, False)
    assert (whole["truncated"], whole["malformed"]) == (False, True)


def test_the_second_of_two_vlan_tags_or_the_last_of_more_is_the_inner_one() -> None:
    assert row_of(ETHER / Dot1Q(vlan=17) / IPV4)["vlan_inner_id"] is None
    assert row_of(ETHER / Dot1AD(vlan=17) / Dot1Q(vlan=3) / IPV4)["vlan_inner_id"] == 3
    values = row_of(ETHER / Dot1AD(vlan=17, type=0x9200) / Dot1Q(vlan=3) / Dot1Q(vlan=0) / IPV4)
    assert (values["vlan_id"], values["vlan_inner_id"], values["dst_port"]) == (17, 0, 9)


LABELS = b"\x00\x07\x00\x40\x00\x02\x01\x40"


@pytest.mark.parametrize("control_word", [b"", bytes(4)], ids=["none", "control word"])
def test_an_ethernet_frame_behind_mpls_labels_is_found(control_word: bytes) -> None:
    inner = bytes(Ether(dst="00:00:5e:00:00:01") / Dot1Q(vlan=9) / IPV4)
    values = row_of(bytes(Ether(src="02:00:00:00:00:01", type=0x8847)) + LABELS + control_word + inner)
    assert (values["mpls_label"], values["vlan_id"], values["src_ip"]) == (0x70, 9, "10.0.0.1")
    assert (values["eth_src"], values["eth_type"], values["inner_src_ip"]) == ("02:00:00:00:00:01", 0x8847, None)


def test_what_follows_mpls_labels_without_a_sign_is_left() -> None:
    values = row_of(bytes(Ether(type=0x8847)) + LABELS + b"\x10" + bytes(40))
    assert (values["protocol"], values["mpls_label"], values["malformed"]) == ("MPLS", 0x70, False)


def test_cisco_metadata_and_backbone_tags_are_stepped_over() -> None:
    assert row_of(bytes(Ether(type=0x8909)) + b"\1\1\0\1\0\7\x08\x00" + bytes(IPV4))["dst_port"] == 9
    assert row_of(bytes(Ether(type=0x88E7)) + bytes(4) + bytes(ETHER / IPV4))["dst_port"] == 9


@pytest.mark.parametrize(("protocol", "name"), [(0xC021, "PPP LCP"), (0x8021, "PPP IPCP"), (0x1234, "PPP")])
def test_ppp_s_own_protocols_are_named(protocol: int, name: str) -> None:
    assert row_of(struct.pack(">H", protocol) + bytes(8), link_type=9)["protocol"] == name


def test_link_types_that_are_dissected_are_known() -> None:
    assert all(map(is_dissected, (0, 1, 9, 12, 50, 101, 104, 108, 113, 228, 229, 239, 276)))
    assert not any(map(is_dissected, (105, 127, 227, 250)))


def test_of_an_unknown_link_type_only_the_lengths_are_known() -> None:
    values = row_of(bytes(IPV4), link_type=250)
    assert (values["protocol"], values["src_ip"], values["cap_len"]) == ("?", None, len(IPV4))
    assert not values["malformed"]


@pytest.mark.parametrize("payload", [IPV4, IPV6], ids=["IPv4", "IPv6"])
def test_mpls_labels_and_pppoe_sessions_are_stepped_over(payload: object) -> None:
    expected = row_of(ETHER / payload)["src_ip"]
    labels = b"\x00\x01\x00\x40\x00\x02\x01\x40"
    protocol = 0x0021 if payload is IPV4 else 0x0057
    session = PPPoE(sessionid=1) / PPP(proto=protocol) / payload
    assert row_of(bytes(Ether(type=0x8847)) + labels + bytes(payload))["src_ip"] == expected  # type: ignore[call-overload]
    assert row_of(Ether(type=0x8864) / session)["src_ip"] == expected


@pytest.mark.parametrize(
    ("ether_type", "name"), [(0x88CC, "LLDP"), (0x888E, "EAPOL"), (0x8863, "PPPoED"), (0x1234, "Ethernet")]
)
def test_what_is_not_ip_is_named(ether_type: int, name: str) -> None:
    assert row_of(bytes(Ether(type=ether_type)) + bytes(46))["protocol"] == name
