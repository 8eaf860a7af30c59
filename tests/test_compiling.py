"""What people see while kernels are compiled."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import numba
from aishark_panel import compiling, jit

@jit.kernel_part
def part(x):
    return x + 1

@jit.kernel
def whole(x):
    return part(x) * 2

compiling._PATIENCE_S = -1.0  # as if each function took long
"""
SAID = "compiling for this machine, which is done once and takes some 25 s"


def run(code: str, folder: Path, stderr: int = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    (folder / "program.py").write_text(PROGRAM + code)
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(folder / "cache")}
    command = [sys.executable, "-W", "error", str(folder / "program.py")]
    return subprocess.run(
        command, stdout=subprocess.PIPE, stderr=stderr, env=environment, text=True, timeout=60, check=True
    )


def test_it_is_said_once_and_only_where_something_is_compiled(tmp_path: Path) -> None:
    code = "whole(1)\nprint(whole(2.0))"
    outcomes = [(done.stdout, done.stderr) for done in (run(code, tmp_path), run(code, tmp_path))]
    assert outcomes == [("6.0\n", SAID + "\n"), ("6.0\n", "")]


def test_on_a_terminal_a_line_moves_and_then_goes(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    try:
        run("whole(1)", tmp_path, theirs)
        os.close(theirs)
        seen = os.read(ours, 65536).decode()
    finally:
        os.close(ours)
    assert "1 functions, 0 s so far" in seen
    assert seen.endswith("\r" + " " * len(f"{SAID}: 1 functions, 0 s so far") + "\r")


def test_another_place_gets_it_instead(tmp_path: Path) -> None:
    done = run("said = []\nwith compiling.told(said.append):\n    whole(1)\nprint(said)", tmp_path)
    assert done.stdout == f"['{SAID}: 1 functions, 0 s so far', '']\n"
    assert done.stderr == ""


@pytest.mark.parametrize("closing", ["sys.stderr = None", "sys.stderr.close()", "os.close(2)"])
def test_no_standard_error_is_no_error(closing: str, tmp_path: Path) -> None:
    assert run(f"import os, sys\n{closing}\nprint(whole(1))", tmp_path).stdout == "4\n"
