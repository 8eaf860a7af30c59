"""%%capture_packets. The cases are in magic_cases.py and run in a network of their own."""

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
