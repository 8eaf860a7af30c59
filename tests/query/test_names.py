import pytest

from aishark_panel.errors import ExpressionError
from aishark_panel.query import compile_expression, vocabulary
from aishark_panel.query.names import Presence, resolve
from aishark_panel.wire.layers import Layer
from aishark_panel.wire.packets import ARROW_NAMES
from aishark_panel.wire.protocols import PROTOCOLS
from aishark_panel.wire.schema import COLUMNS


def test_every_column_users_see_can_be_asked_for() -> None:
    assert {name for name in ARROW_NAMES if not resolve(name, 0).fields} == set()


def test_every_wireshark_name_of_the_schema_means_its_column() -> None:
    for spec in COLUMNS:
        for name in spec.wireshark:
            assert [field.stored for field in resolve(name, 0).fields] == [spec.name], name


def test_a_wireshark_name_has_values_only_where_its_protocol_is() -> None:
    (port,) = resolve("tcp.srcport", 0).fields
    assert port.presence == (Presence("layers", Layer.PORTS), Presence("layers", Layer.TCP))
    (address,) = resolve("ipv6.src", 0).fields
    assert address.presence == (Presence("layers", Layer.IPV6),)
    (address,) = resolve("ip.src", 0).fields
    assert address.presence == (Presence("layers", Layer.IP),)


def test_names_of_ports_and_addresses_mean_the_outermost_packet_and_those_above_the_innermost() -> None:
    tcp_in_vxlan = Layer.IPV4 | Layer.UDP | Layer.PORTS | Layer.VXLAN | Layer.TUNNEL_ID | Layer.INNER_TCP

    def exists(name: str) -> list[bool]:
        return [all(tcp_in_vxlan & presence.bits for presence in field.presence) for field in resolve(name, 0).fields]

    assert exists("tcp.srcport") == [False]
    assert exists("tcp.port") == [False, False]
    assert exists("udp.dstport") == exists("tcp.seq_raw") == exists("tcp.flags.syn") == exists("vxlan.vni") == [True]
    assert exists("geneve.vni") == exists("gtp.teid") == [False]
    for protocol, is_there in (("tcp", True), ("udp", True), ("vxlan", True), ("sctp", False), ("gre", False)):
        assert all(tcp_in_vxlan & presence.bits for presence in resolve(protocol, 0).presence) is is_there


def test_vlan_id_means_either_tag() -> None:
    assert [field.stored for field in resolve("vlan.id", 0).fields] == ["vlan_id", "vlan_inner_id"]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("src_prt", "src_port"),
        ("tcp.prot", "tcp.port"),
        ("http.hots", "http.host"),
        ("TCP", "tcp"),
        ("Src_IP", "src_ip"),
    ],
)
def test_a_misspelt_name_is_answered_with_the_nearest(name: str, meant: str) -> None:
    with pytest.raises(ExpressionError, match=rf"^no column or protocol '{name}'; did you mean {meant}\?$") as caught:
        compile_expression(f"tcp and {name} == 1")
    assert caught.value.position == 8


@pytest.mark.parametrize("name", ["layers", "frame_pos"])
def test_internal_columns_have_no_name(name: str) -> None:
    with pytest.raises(ExpressionError, match="no column or protocol"):
        compile_expression(f"{name} == 1")


def test_a_very_long_name_is_cut_in_the_message() -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_expression("x" * 1_999)
    assert len(str(caught.value)) < 100


def test_the_vocabulary_is_complete_and_every_word_compiles() -> None:
    words = {word.name: word for word in vocabulary()}
    assert len(words) == len(vocabulary())
    assert set(ARROW_NAMES) < set(words)
    assert {word.name for word in vocabulary()[: len(ARROW_NAMES)]} == set(ARROW_NAMES)
    assert (words["src_port"].kind, words["tcp.port"].kind, words["dns"].kind) == (
        "integer", "integer", "protocol name",
    )  # fmt: skip
    assert {"quic", "http2", "tlsv1.3", "wireguard"} < set(words)
    assert [name for name in PROTOCOLS if name.lower() not in words and name.replace(".", "").isalnum()] == []
    for word in words.values():
        assert word.meaning
        if word.kind != "function":
            compile_expression(word.name)
