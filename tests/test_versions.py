"""What a bug report begins with."""

import platform
import subprocess
import sys

import numpy as np
import pytest

from aishark_panel import __version__
from aishark_panel.versions import versions_text
from aishark_panel.wire.messages import PROTOCOL_VERSION


def test_the_command_names_what_a_bug_report_needs() -> None:
    command = [sys.executable, "-m", "aishark_panel", "--version"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert lines[0] == f"aishark {__version__}, protocol {PROTOCOL_VERSION}"
    assert platform.python_version() in lines[1]
    assert f"numpy {np.__version__}, " in lines[2]


def test_a_package_that_is_not_installed_is_named_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aishark_panel.versions._PACKAGES", ("numpy", "no-such-package"))
    assert versions_text().endswith(f"numpy {np.__version__}, no-such-package -")
