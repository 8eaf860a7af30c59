"""Code that pages show is such: Python that compiles and names what there is, files that our own readers take, JSON."""

import ast
import importlib
import importlib.util
import inspect
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeGuard

import pytest
import yaml

import aishark_panel
from aishark_panel.alerts.channels import load_channels
from aishark_panel.alerts.rule import parse_rules
from aishark_panel.config import load_agent_options
from aishark_panel.streams.oidc_config import load_oidc
from tests.docs.pages import Block, blocks

PYTHON, YAML = blocks("python"), blocks("yaml")
SECRET_FILE = re.compile(r"(?<=_file: )\S+")
READERS: dict[str, Callable[[Path, dict[str, str]], object]] = {
    "rules": lambda path, _: parse_rules(path.read_text(), path.name),
    "channels": lambda path, environment: load_channels(str(path), environment),
    "issuer": load_oidc,
    **dict.fromkeys(
        ("agent", "server", "performance", "allow", "profiles"),
        lambda path, environment: load_agent_options(str(path), environment, {}),
    ),
}
"""What reads a file of ours, by one of its keys."""


@pytest.mark.parametrize("block", PYTHON, ids=str)
def test_python_compiles_and_names_what_there_is(block: Block) -> None:
    check(block.text)


def check(text: str) -> None:
    compile(text, "page", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                assert importlib.util.find_spec(alias.name), alias.name
        elif isinstance(node, ast.ImportFrom):
            module = importlib.import_module(str(node.module))
            assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == []
        elif is_ours(node):
            assert node.attr in aishark_panel.__all__
        elif isinstance(node, ast.Call) and is_ours(node.func):
            function = getattr(aishark_panel, node.func.attr)
            named = {each.arg: None for each in node.keywords if each.arg}
            inspect.signature(function).bind_partial(*node.args, **named)


def is_ours(node: ast.AST) -> TypeGuard[ast.Attribute]:
    """Whether it is `ais.something`."""
    return isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "ais"


@pytest.mark.parametrize(
    "text", ["ais.caption()", "ais.capture(colour=1)", "import aishark", "from aishark_panel import nothing", "x ="]
)
def test_python_that_names_what_there_is_not_is_refused(text: str) -> None:
    with pytest.raises((AssertionError, AttributeError, TypeError, SyntaxError)):
        check(text)


@pytest.mark.parametrize("block", YAML, ids=str)
def test_a_file_of_ours_is_taken_by_what_reads_it(block: Block, tmp_path: Path) -> None:
    keys = yaml.safe_load(block.text)
    readers = {READERS[key] for key in keys if key in READERS}
    if not readers:
        return  # a file of another program; it is YAML
    assert len(readers) == 1
    secret, path = tmp_path / "secret", tmp_path / "file.yaml"
    secret.write_text("secret")
    path.write_text(SECRET_FILE.sub(str(secret), block.text))
    for each in (secret, path):
        each.chmod(0o600)
    readers.pop()(path, dict.fromkeys(re.findall(r"\$\{(\w+)\}", block.text), "something"))


def test_json_is_json() -> None:
    for block in blocks("json"):
        json.loads(block.text)


def test_pages_show_a_file_for_each_reader() -> None:
    shown = {key for block in YAML for key in yaml.safe_load(block.text)}
    assert {"rules", "channels", "issuer", "agent"} <= shown
