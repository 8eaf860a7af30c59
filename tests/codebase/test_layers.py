"""The import contracts of pyproject.toml hold: who may import whom, and what agents and hub never load."""

import subprocess
import sys
from pathlib import Path

from tests.codebase.sources import ROOT


def test_imports_keep_their_contracts() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stdout + result.stderr
