"""Every `aishark` and `make` line that a page shows is one that the programs take."""

import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import typer.main

from aishark_panel.cli import app
from tests.codebase.sources import ROOT
from tests.docs.pages import Block, blocks

PROGRAM = typer.main.get_command(app)
SHELL = ("", "sh", "bash", "console", "shell")
ENDS = re.compile(r"[|&;<>()]+|[0-9]>+|2>&1")
"""a word of the shell that ends a command"""


def commands(block: Block, program: str) -> Iterator[list[str]]:
    """The words behind `program` in each command of a block that begins with it, behind variables and a prompt."""
    command: list[str] = []
    for word in [*words(block.text), ";"]:
        if not ENDS.fullmatch(word):
            command.append(word)
            continue
        while command and (command[0] in ("$", "sudo", "exec") or re.fullmatch(r"\w+=.*", command[0])):
            del command[0]
        if command[:1] == [program]:
            yield command[1:]
        command = []


def words(text: str) -> Iterator[str]:
    """The words of commands, with `;` between lines. A line that is no shell's (a diagram, say) has none."""
    pending = ""
    for line in text.splitlines():
        pending += line + "\n"
        lexer = shlex.shlex(pending.replace("\\\n", " "), posix=True, punctuation_chars=True)
        lexer.wordchars += ":@%,{}[]!^"
        try:
            found = list(lexer)
        except ValueError:  # a quote is open: the next line goes on
            continue
        if not line.endswith("\\"):
            yield from [*found, ";"]
            pending = ""


SHOWN = [(block, given) for block in blocks(*SHELL) for given in commands(block, "aishark")]


def parse(given: list[str]) -> list[str]:
    """The names of the command and its subcommand, after the program's own parser has taken all of them."""
    command: Any = PROGRAM
    name, context = "aishark", None
    names: list[str] = []
    while True:
        context = command.make_context(name, given, parent=context)
        rest = [*getattr(context, "_protected_args", []), *context.args]
        if not hasattr(command, "commands") or not rest:
            return names
        name, command, given = command.resolve_command(context, rest)
        names.append(name)


@pytest.mark.parametrize(("block", "given"), SHOWN, ids=[f"{block}-{' '.join(given)[:60]}" for block, given in SHOWN])
def test_a_command_that_is_shown_is_one_that_there_is(block: Block, given: list[str]) -> None:
    parse(given)


@pytest.mark.parametrize(
    "line",
    ["agnet --synthetic", "agent --sinthetic", "read", "record begin live", "agents change", "hub --port x"],
)
def test_what_is_none_is_refused(line: str) -> None:
    with pytest.raises(Exception, match=r"No such|Missing|not a valid|Invalid|should be"):
        parse(line.split())


def test_the_readme_shows_every_command() -> None:
    shown = {parse(given)[0] for block, given in SHOWN if block.page == ROOT / "README.md"}
    assert shown == {name for name, command in PROGRAM.commands.items() if not command.hidden}  # type: ignore[attr-defined]


def test_targets_of_make_that_are_shown_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    shown = [given for block in blocks(*SHELL) for given in commands(block, "make")]
    assert {given[0] for given in shown} <= targets
    assert len(shown) > 3
