"""%%capture_packets. The cases are in magic_cases.py and run in a network of their own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.agent.own_network import AS_ROOT, Outcome, case_names, run_cases

CASES = Path(__file__).with_name("magic_cases.py")


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    return run_cases(CASES, tmp_path_factory.mktemp("magic"), AS_ROOT)


@pytest.mark.parametrize("case", case_names(CASES))
def test_magic(case: str, outcomes: dict[str, Outcome]) -> None:
    outcome = outcomes[case]
    if outcome.kind == "skipped":
        pytest.skip(outcome.text)
    assert outcome.kind == "passed", outcome.text


def test_without_the_right_to_capture_a_sentence_says_how_to_get_it_and_the_cell_does_not_run() -> None:
    program = (
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "shell = InteractiveShell.instance(history_manager=None, colors='nocolor')\n"
        "shell.run_line_magic('load_ext', 'aishark_panel')\n"
        "shell.run_cell('%%capture_packets -i lo\\nprint(\"it ran\")')"
    )
    command = [sys.executable, "-c", program]
    if os.geteuid() == 0:
        command = ["setpriv", "--bounding-set", "-net_raw", "--inh-caps", "-net_raw", *command]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    said = run.stdout + run.stderr
    for way in ("CAP_NET_RAW", "sudo setpriv", "capture(file=", "connect(url, token)"):
        assert way in said
    assert "Traceback" not in said
    assert "it ran" not in said
