"""The rule that CI skips nothing, seen from outside: pytest runs on a small folder with the project's conftest.py."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.codebase.sources import ROOT
from tests.conftest import LONGEST

TESTS = """
import os
import pytest

def test_skips_itself():
    pytest.skip("no such tool")

@pytest.mark.xfail
def test_fails_as_expected():
    assert False

def test_sees_no_variable_of_the_shell():
    assert not [name for name in os.environ if name.startswith("AISHARK_")]
"""
MODULE = """
import pytest
pytest.importorskip("a_package_that_nobody_has")
"""


def run(folder: Path, require_all: str) -> str:
    shutil.copy(Path(__file__).parents[1] / "conftest.py", folder / "conftest.py")
    (folder / "test_small.py").write_text(TESTS)
    (folder / "test_module.py").write_text(MODULE)
    environment = os.environ | {"AISHARK_REQUIRE_ALL": require_all, "AISHARK_HUB": "http://127.0.0.1:1"}
    options = ["-q", "-p", "no:cacheprovider", "--continue-on-collection-errors", str(folder)]
    command = [sys.executable, "-m", "pytest", *options]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60).stdout


@pytest.mark.parametrize(
    ("require_all", "summary"),
    [("0", "1 passed, 2 skipped, 1 xfailed"), ("1", "1 failed, 1 passed, 1 xfailed, 1 error")],
)
def test_a_skip_is_a_failure_exactly_where_all_is_required(tmp_path: Path, require_all: str, summary: str) -> None:
    assert summary in run(tmp_path, require_all)


def test_the_files_that_begin_first_are_there_and_named_once() -> None:
    assert [name for name in LONGEST if not (ROOT / name).is_file()] == []
    assert len(set(LONGEST)) == len(LONGEST)
