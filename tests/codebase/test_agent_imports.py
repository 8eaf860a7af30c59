"""An agent is light: importing all of it loads neither pandas, nor a front end, nor what hubs need, though all are
installed."""

import importlib.util
import subprocess
import sys

import pytest

from tests.codebase.sources import MODULES, ROOT

HEAVY = ("argon2", "bokeh", "holoviews", "pandas", "panel", "scapy", "sqlalchemy")
AGENT = [m.name for m in MODULES if m.name == "aishark_panel.agent" or m.name.startswith("aishark_panel.agent.")]

PROGRAM = """
import importlib, sys
names, heavy = (argument.split(",") for argument in sys.argv[1:])
for name in names:
    importlib.import_module(name)
print(*[name for name in heavy if name in sys.modules])
"""


@pytest.mark.parametrize("name", HEAVY)
def test_the_heavy_packages_are_installed_here(name: str) -> None:
    assert importlib.util.find_spec(name) is not None


def test_importing_the_agent_loads_nothing_heavy() -> None:
    command = [sys.executable, "-W", "error", "-c", PROGRAM, ",".join(AGENT), ",".join(HEAVY)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == []
