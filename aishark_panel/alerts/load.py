"""Rules from files: those that come with the package, and those of the user."""

from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import Final

from aishark_panel.alerts.rule import MAX_FILE_BYTES, Rule, parse_rules
from aishark_panel.errors import ConfigError

__all__ = ["BUILTIN", "load_rules", "read_rules"]

BUILTIN: Final = "builtin"
"""Stands for the package's own rules where a rules file is expected."""


def read_rules(path: str) -> tuple[Rule, ...]:
    """The rules of a file, or the package's own for BUILTIN. Raises ConfigError."""
    if path == BUILTIN:
        return parse_rules(files("aishark_panel.alerts").joinpath("builtin.yaml").read_text("utf-8"), "builtin.yaml")
    try:
        with Path(path).open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        return parse_rules(content.decode("utf-8"), path)
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is no text in UTF-8 (byte {error.start})") from error


def load_rules(paths: Iterable[str], *, builtin: bool = True) -> tuple[Rule, ...]:
    """The rules of all these files; one with the name of a built-in rule takes its place. Raises ConfigError."""
    rules = {rule.name: rule for rule in read_rules(BUILTIN)} if builtin else {}
    came_from: dict[str, str] = {}
    for path in paths:
        for rule in read_rules(path):
            if rule.name in came_from:
                raise ConfigError(f"{path}: rule {rule.name!r} is in {came_from[rule.name]} too; names are unique")
            came_from[rule.name] = path
            rules[rule.name] = rule
    return tuple(rules.values())
