"""A configuration file in YAML whose every entry knows its line, and files that hold secrets.

It is read as YAML nodes; what a plain scalar means in YAML does not matter. ${NAME} stands for a variable of the
environment. Errors say the file's line, or the option that named the file.
"""

import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Final

import yaml

from aishark_panel.errors import ConfigError

__all__ = ["ConfigFile", "Text", "plain_yaml", "read_text", "refuse_if_shared"]

Text = str | tuple[str, ...]
_MAX_FILE_BYTES: Final = 1 << 20
_MAX_DEPTH: Final = 20


def read_text(path: Path, where: str, limit_bytes: int) -> str:
    """The text of a file of at most so many bytes; ConfigError, with `where` it was named, if it has none."""
    try:
        with path.open("rb") as file:
            content = file.read(limit_bytes + 1)
        if len(content) > limit_bytes:
            raise ConfigError(f"{where}: {path} has more than {limit_bytes:,} bytes; is it the right file?")
        return content.decode()
    except OSError as error:
        raise ConfigError(f"{where}: {path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{where}: {path} is not UTF-8 text.") from error


def refuse_if_shared(path: Path, where: str, environment: Mapping[str, str] = os.environ) -> None:
    """ConfigError if others than its owner may read or change a file that holds a secret.

    What systemd hands over as a credential is the service's alone, whatever its mode (systemd.exec(5)).
    """
    if (ours := environment.get("CREDENTIALS_DIRECTORY")) and path.parent == Path(ours):
        return
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise ConfigError(f"{where}: others may read {path}, which holds a secret (mode {mode:04o}): chmod 600 {path}")


class _PlainLoader(yaml.SafeLoader):  # type: ignore[misc]
    """YAML without what makes little text into much (aliases) or into other than text, numbers, true, false and null
    (tags, and scalars that YAML 1.1 takes for dates or for numbers of base 2, 8, 16 or 60)."""

    yaml_implicit_resolvers: ClassVar[dict[str, list[tuple[str, re.Pattern[str]]]]] = {}
    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()
        problem = ""
        if isinstance(event, yaml.AliasEvent):
            problem = "aliases, *name, are not taken here: write it out"
        elif getattr(event, "tag", None) is not None:
            problem = f"tags, {event.tag:.40}, are not taken here"
        elif self.depth >= _MAX_DEPTH:
            problem = f"lists and mappings nest more than {_MAX_DEPTH} deep"
        elif isinstance(event, yaml.ScalarEvent) and not _is_text(event.value):
            problem = "this holds characters that are no text (surrogates)"
        if problem:
            raise yaml.composer.ComposerError(None, None, problem, event.start_mark)
        self.depth += 1
        node: yaml.Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node


for _kind, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE|yes|Yes|YES|no|No|NO|on|On|ON|off|Off|OFF", "tTfFyYnNoO"),
    ("int", r"[-+]?[0-9]{1,18}", "-+0123456789"),
    ("float", r"[-+]?[0-9]{1,18}\.[0-9]{0,18}(?:[eE][-+]?[0-9]{1,2})?", "-+0123456789"),
    ("null", r"~|null|Null|NULL|", "~nN\0"),
):
    _PlainLoader.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(f"(?:{_pattern})\\Z"), list(_first))

# What PyYAML raises: its own errors, and bare ones for numbers and characters that there are not.
_YAML_ERRORS: Final = (yaml.YAMLError, RecursionError, ValueError, OverflowError)


def plain_yaml(text: str, source: str) -> Any:
    """What a YAML text says, of texts, whole and broken numbers, true, false, null, lists and mappings. No text takes
    more than a few times its own memory. ConfigError with the line, where `source` is what the text is called."""
    try:
        return yaml.load(text, _PlainLoader)
    except _YAML_ERRORS as error:
        line, reason = _problem(error)
        raise ConfigError(
            f"{source}: not YAML at line {line}: {reason}" if line else f"{source}: not YAML: {reason}"
        ) from error


def _problem(error: BaseException) -> tuple[int, str]:
    """The line of an error (0: nobody knows) and what it says."""
    mark = getattr(error, "problem_mark", None)
    reason = getattr(error, "problem", None) or (str(error).splitlines() or [type(error).__name__])[0]
    return mark.line + 1 if mark else 0, f"{reason:.200}"


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


class ConfigFile:
    """One YAML file."""

    def __init__(self, path: str, environment: Mapping[str, str], option: str = "--config") -> None:
        """`option` is what named the file."""
        self._path = Path(path)
        self._environment = environment
        try:
            self.root = yaml.compose(read_text(self._path, option, _MAX_FILE_BYTES), yaml.SafeLoader)
        except _YAML_ERRORS as error:
            line, reason = _problem(error)
            raise ConfigError(
                f"{path}, line {line}: not YAML: {reason}" if line else f"{path}: not YAML: {reason}"
            ) from error

    def entries(self, node: yaml.Node | None, what: str) -> Iterator[tuple[str, str, yaml.Node]]:
        """(key, place, value) of a mapping; an absent or empty one has none."""
        if node is None or (isinstance(node, yaml.ScalarNode) and not node.value):
            return
        if not isinstance(node, yaml.MappingNode):
            raise ConfigError(f"{self.place(node)}: {what} must hold 'key: value' lines.")
        seen = set()
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.value in seen:
                raise ConfigError(f"{self.place(key)}: each key must be a name, and stand there once.")
            seen.add(key.value)
            yield key.value, self.place(key), value

    def items(self, node: yaml.Node, what: str) -> list[yaml.Node]:
        """What a list holds."""
        if not isinstance(node, yaml.SequenceNode):
            raise ConfigError(f"{self.place(node)}: {what} must be a list, each of its lines beginning with '- '.")
        return list(node.value)

    def value(self, node: yaml.Node, name: str, *, secret: bool) -> Text:
        """The text or texts of a node; a secret that stands there in plain makes the file one."""
        if isinstance(node, yaml.ScalarNode):
            text = self._expanded(node.value, node)
            if secret and text == node.value and text:
                refuse_if_shared(self._path, self.place(node))
            return text
        if isinstance(node, yaml.SequenceNode) and all(isinstance(each, yaml.ScalarNode) for each in node.value):
            return tuple(self._expanded(each.value, each) for each in node.value)
        raise ConfigError(f"{self.place(node)}: {name} must be one value, or a list of names.")

    def _expanded(self, text: str, node: yaml.Node) -> str:
        def look_up(match: re.Match[str]) -> str:
            value = self._environment.get(match[1])
            if value is None:
                raise ConfigError(f"{self.place(node)}: the environment has no variable {match[1]}.")
            return value

        return re.sub(r"\$\{(\w+)\}", look_up, text)

    def place(self, node: yaml.Node) -> str:
        """Where a node stands: file and line."""
        return f"{self._path}, line {node.start_mark.line + 1}"
