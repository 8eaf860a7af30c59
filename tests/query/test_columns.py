"""Columns chosen by name: our names, Wireshark's where they mean exactly one, and what is said of others."""

import pytest

from aishark_panel.errors import ConfigError
from aishark_panel.query.columns import choose_columns
from aishark_panel.wire.packets import ARROW_NAMES
from aishark_panel.wire.schema import COLUMNS


def test_names_of_ours_and_of_wireshark_choose_columns_each_once_in_their_order() -> None:
    names = ["info", "tcp.dstport", "ip.src", "ts", "src_ip", "frame.number", "ts"]
    assert choose_columns(names, (*ARROW_NAMES, "info")) == ["info", "dst_port", "src_ip", "ts", "number"]
    assert choose_columns(ARROW_NAMES, ARROW_NAMES) == list(ARROW_NAMES)


def test_every_name_that_the_schema_lists_of_wireshark_chooses_its_column() -> None:
    for column in COLUMNS:
        if column.name in ARROW_NAMES:
            assert set(choose_columns(column.wireshark, ARROW_NAMES)) <= {column.name}


@pytest.mark.parametrize(
    ("name", "both"),
    [("tcp.port", "src_port and dst_port"), ("ip.addr", "src_ip and dst_ip"), ("vlan.id", "vlan_id and vlan_inner_id")],
)
def test_a_name_that_stands_for_two_columns_is_refused_with_both(name: str, both: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{name} stands for two columns, {both}; name"):
        choose_columns(["ts", name], ARROW_NAMES)


@pytest.mark.parametrize(
    ("name", "meant"), [("src_prt", "src_port"), ("ip.scr", "ip.src"), ("Protocol", "protocol"), ("inf", "info")]
)
def test_an_unknown_name_is_answered_with_the_nearest(name: str, meant: str) -> None:
    with pytest.raises(ConfigError, match=rf"^there is no column '{name}'; did you mean {meant}\?$"):
        choose_columns([name], (*ARROW_NAMES, "info"))


@pytest.mark.parametrize("name", ["tcp", "tcp.flags.syn", "frame", "xyzzy", "x" * 10_000])
def test_what_is_no_column_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="there is no column '"):
        choose_columns([name], ARROW_NAMES)


def test_a_column_the_table_lacks_is_refused_under_its_other_name_too() -> None:
    with pytest.raises(ConfigError, match=r"no column 'ip\.src'; columns are ts, number$"):
        choose_columns(["ip.src"], ["ts", "number"])


@pytest.mark.parametrize("name", [1, None, ["ts"], {"ts": 1}])
def test_what_is_no_text_is_refused(name: object) -> None:
    with pytest.raises(ConfigError, match="by its name"):
        choose_columns([name], ARROW_NAMES)
