"""The whole mission in one story. It is in mission_flow_cases.py and runs in a network of its own."""

from pathlib import Path

import pytest

from tests.agent.own_network import AS_ROOT, Outcome, case_names, run_cases

CASES = Path(__file__).with_name("mission_flow_cases.py")
TIMEOUT_S = 280
"""It takes 40 s alone on two cores; the rest is for one that is busy, or has to compile the kernels first."""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    return run_cases(CASES, tmp_path_factory.mktemp("mission"), AS_ROOT, timeout_s=TIMEOUT_S)


@pytest.mark.timeout(TIMEOUT_S + 20)
@pytest.mark.parametrize("case", case_names(CASES))
def test_mission_flow(case: str, outcomes: dict[str, Outcome]) -> None:
    outcome = outcomes[case]
    if outcome.kind == "skipped":
        pytest.skip(outcome.text)
    assert outcome.kind == "passed", outcome.text
