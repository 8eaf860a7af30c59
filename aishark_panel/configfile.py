"""A configuration file in YAML whose every entry knows its line, and files that hold secrets.

It is read as YAML nodes; what a plain scalar means in YAML does not matter. ${NAME} stands for a variable of the
environment. Errors say the file's line, or the option that named the file.
"""

import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import yaml

from aishark_panel.errors import ConfigError

__all__ = ["ConfigFile", "Text", "read_text", "refuse_if_shared"]

Text = str | tuple[str, ...]
_MAX_FILE_BYTES: Final = 1 << 20


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


def refuse_if_shared(path: Path, where: str) -> None:
    """ConfigError if others than its owner may read or change a file that holds a secret."""
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise ConfigError(f"{where}: others may read {path}, which holds a secret (mode {mode:04o}): chmod 600 {path}")


class ConfigFile:
    """One YAML file."""

    def __init__(self, path: str, environment: Mapping[str, str], option: str = "--config") -> None:
        """`option` is what named the file."""
        self._path = Path(path)
        self._environment = environment
        try:
            self.root = yaml.compose(read_text(self._path, option, _MAX_FILE_BYTES), yaml.SafeLoader)
        except (yaml.YAMLError, RecursionError) as error:
            mark = getattr(error, "problem_mark", None)
            place = f"{path}, line {mark.line + 1}" if mark else path
            raise ConfigError(f"{place}: not YAML: {getattr(error, 'problem', None) or error}") from error

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
