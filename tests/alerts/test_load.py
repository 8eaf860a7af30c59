"""Rules files: where they come from, and what stands in the way."""

from pathlib import Path

import pytest

from aishark_panel.alerts.load import BUILTIN, load_rules, read_rules
from aishark_panel.errors import ConfigError


def write(folder: Path, name: str, text: str | bytes) -> str:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def test_a_rule_of_the_user_takes_the_place_of_a_built_in_one(tmp_path: Path) -> None:
    own = write(tmp_path, "own.yaml", "rules: [{name: port_scan, enabled: false}, {name: mine}]")
    rules = load_rules([own])
    assert [rule.name for rule in rules] == [*(rule.name for rule in read_rules(BUILTIN)), "mine"]
    assert not rules[0].enabled
    assert [rule.name for rule in load_rules([own], builtin=False)] == ["port_scan", "mine"]


def test_a_name_in_two_files_is_an_error_that_names_both(tmp_path: Path) -> None:
    paths = [write(tmp_path, name, "rules: [{name: mine}]") for name in ("a.yaml", "b.yaml")]
    with pytest.raises(ConfigError, match=r"b\.yaml: rule 'mine' is in .*a\.yaml too"):
        load_rules(paths)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        read_rules(str(tmp_path / "missing.yaml"))
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        read_rules(str(tmp_path))
    with pytest.raises(ConfigError, match="no text in UTF-8"):
        read_rules(write(tmp_path, "bytes.yaml", b"rules: \xff"))
