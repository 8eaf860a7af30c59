"""Live capture. The cases are in *_cases.py and run in a network of their own; no privilege is needed."""

import subprocess
import sys
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import pytest

from tests.agent.own_network import AS_ROOT, ROOT, Outcome, case_names, run_cases

FILES = [Path(__file__).with_name(f"{name}_cases.py") for name in ("live_capture", "any", "interfaces", "libpcap")]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], dict[str, Outcome]]:
    """How the cases of a file ended; each file is run once."""
    return lru_cache(lambda cases: run_cases(cases, tmp_path_factory.mktemp(cases.stem), AS_ROOT))


@pytest.mark.parametrize(
    ("cases", "case"), [pytest.param(cases, name, id=name) for cases in FILES for name in case_names(cases)]
)
def test_live_capture(cases: Path, case: str, outcomes: Callable[[Path], dict[str, Outcome]]) -> None:
    outcome = outcomes(cases)[case]
    if outcome.kind == "skipped":
        pytest.skip(outcome.text)
    assert outcome.kind == "passed", outcome.text


def test_without_the_right_to_capture_the_error_says_how_to_get_it() -> None:
    # In a user namespace of its own, a process has no capability over the network outside of it: not even root.
    program = "from aishark_panel.agent.capture import LiveCapture; LiveCapture('lo')"
    command = ["unshare", "--user", sys.executable, "-c", program]
    if subprocess.run([*command[:2], "true"], capture_output=True).returncode:
        pytest.skip("no user namespace can be made here")
    error = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60).stderr.splitlines()[-1]
    assert error.startswith("aishark_panel.errors.CapturePermissionError: capturing on lo needs")
    assert "AmbientCapabilities=CAP_NET_RAW" in error
    assert "--ambient-caps=+net_raw aishark agent" in error
