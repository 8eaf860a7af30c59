"""What README.md and the other pages tell people to type exists."""

import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from typer.testing import CliRunner

from aishark_panel.cli import app
from tests.codebase.sources import ROOT

PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
README = (ROOT / "README.md").read_text("utf-8")

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def commands(program: str) -> Iterator[list[str]]:
    """Words of each line of README.md's code blocks that starts `program`, without its comment."""
    for block in re.findall(r"^```[a-z]*\n(.*?)^```", README, re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            words = shlex.split(line, comments=True)
            if words and words[0] == program:
                yield words


def options_by_command() -> dict[str, set[str]]:
    """Subcommand of `aishark` (two words where it is one of a group) to the options README.md uses with it."""
    used: dict[str, set[str]] = {}
    for words in commands("aishark"):
        options = {word.split("=")[0] for word in words[2:] if re.match(r"--?[a-z]", word)}
        in_group = "COMMAND [ARGS]" in help_text(words[1]) and words[2:] and not words[2].startswith("-")
        used.setdefault(" ".join(words[1 : 3 if in_group else 2]), set()).update(options)
    return used


@cache
def help_text(command: str) -> str:
    """What `aishark COMMAND --help` prints."""
    environment = {"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}
    result = CliRunner().invoke(app, [*command.split(), "--help"], env=environment)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_commands_of_the_readme_exist() -> None:
    for command, options in options_by_command().items():
        known = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", help_text(command)))
        assert options - known == set(), command


def test_the_readme_shows_every_command() -> None:
    shown = help_text("").partition("Commands")[2]
    assert {command.split()[0] for command in options_by_command()} == set(
        re.findall(r"^\W*([a-z]+) {2,}", shown, re.MULTILINE)
    )


def test_make_targets_of_the_readme_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert {words[1] for words in commands("make")} <= targets


@each_page
def test_links_to_files_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text("utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []
