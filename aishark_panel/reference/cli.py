"""docs/reference/cli.md: every command, argument and option of `aishark`, from the program itself."""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, get_args, get_origin

import typer.main

from aishark_panel.cli import app
from aishark_panel.reference.markdown import code, table

__all__ = ["render"]

_HEAD: Final = """\
# Commands

<!-- Made from the commands themselves by `make docs`. -->

`aishark COMMAND --help` says the same, `aishark --version` the version. An error that is yours to act on is one line on
standard error, and exit status 2. Variables of the environment are in [Configuration](config.md#environment).
"""
_KINDS: Final = {int: "number", float: "number", str: "text", Path: "path"}


def render() -> str:
    """The page."""
    return "\n".join([_HEAD, *_commands(typer.main.get_command(app), "aishark")])


def _linked(text: str) -> str:
    """A help text, its names of pages as links."""
    return re.sub(r"\bdocs/(\w+\.md)", r"[docs/\1](../\1)", inspect.cleandoc(text))


def _commands(group: Any, name: str) -> Iterator[str]:
    """Those below `name`."""
    for word, command in group.commands.items():
        if not command.hidden:
            yield from _command(command, f"{name} {word}")


def _command(command: Any, name: str) -> Iterator[str]:
    """A command, and those below it."""
    shown = [each for each in command.params if not getattr(each, "hidden", False)]
    yield f"{'#' * len(name.split())} {code(name)}\n"
    if command.help:
        yield f"{_linked(command.help)}\n"
    if shown:
        yield f"```text\n{_usage(name, shown)}\n```\n"
        yield table(["", "meaning", "takes", "default"], map(_row, shown))
    if hasattr(command, "commands"):
        yield from _commands(command, name)


def _usage(name: str, parameters: list[Any]) -> str:
    words = [name] + (["[OPTIONS]"] if any(map(_is_option, parameters)) else [])
    for each in parameters:
        if not _is_option(each):
            word = _placeholder(each)
            words.append(word if each.required else f"[{word}]")
    return " ".join(words)


def _is_option(parameter: Any) -> bool:
    return str(parameter.param_type_name) == "option"


def _placeholder(argument: Any) -> str:
    return str(argument.metavar or argument.name.upper()) + ("..." if argument.multiple or argument.nargs == -1 else "")


def _row(parameter: Any) -> list[str]:
    names = [*parameter.opts, *parameter.secondary_opts] if _is_option(parameter) else [_placeholder(parameter)]
    variable = parameter.envvar or ""
    about = parameter.help or ""
    if variable and variable not in about:
        about += f" Variable: {variable}."
    return [", ".join(map(code, names)), _linked(about), _taken(parameter), _default(parameter)]


def _is_flag(parameter: Any) -> bool:
    return bool(getattr(parameter, "is_flag", False))


def _default(parameter: Any) -> str:
    if parameter.required:
        return "needed"
    if _is_flag(parameter):
        return code(parameter.opts[0]) if parameter.default and parameter.secondary_opts else ""
    return "" if parameter.default is None else code(parameter.default)


def _taken(parameter: Any) -> str:
    """What a value may be; '' for a flag."""
    if _is_flag(parameter):
        return ""
    kind = parameter.type_descriptor.annotation
    repeated = get_origin(kind) is list
    if repeated:
        (kind,) = get_args(kind)
    text = ", ".join(map(code, get_args(kind))) or _KINDS[kind]
    bounds = (("from", parameter.min), ("to", parameter.max))
    between = [f"{word} {bound:,}" for word, bound in bounds if bound is not None]
    return " ".join([text, *between]) + (", repeatable" if repeated else "")
