import re

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
    spelled = [name for name in PROTOCOLS if re.fullmatch(r"[A-Za-z][\w.]*", name)]  # as one word
    assert [name for name in spelled if name.lower() not in words] == []
    assert {"ssh", "dtls", "modbus"} < set(words)
    for word in words.values():
        assert word.meaning
        if word.kind != "function":
            compile_expression(word.name)
