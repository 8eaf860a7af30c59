"""Live agents driven from afar. The cases are in remote_*_cases.py and run in networks of their own."""

from pathlib import Path

import pytest

from tests.agent.own_network import AS_ROOT, Outcome, case_names, run_cases

CONTROL, BOUNDS = (Path(__file__).with_name(f"remote_{name}_cases.py") for name in ("control", "bounds"))


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    return run_cases(CONTROL, tmp_path_factory.mktemp("remote"), AS_ROOT)


@pytest.fixture(scope="module")
def bounds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    return run_cases(BOUNDS, tmp_path_factory.mktemp("bounds"), AS_ROOT)


@pytest.mark.parametrize("case", case_names(CONTROL))
def test_remote_control(case: str, control: dict[str, Outcome]) -> None:
    judge(control[case])


@pytest.mark.parametrize("case", case_names(BOUNDS))
def test_remote_bounds(case: str, bounds: dict[str, Outcome]) -> None:
    judge(bounds[case])


def judge(outcome: Outcome) -> None:
    if outcome.kind == "skipped":
        pytest.skip(outcome.text)
    assert outcome.kind == "passed", outcome.text
