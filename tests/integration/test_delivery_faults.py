"""What breaks on the way from a host to the hub, and what the hub has in the end: see delivery_fault_cases.py."""

from pathlib import Path

import pytest

from tests.agent.own_network import Outcome, case_names, run_cases

CASES = Path(__file__).with_name("delivery_fault_cases.py")
TIMEOUT_S = 240
NOT_AS_ROOT = ("unshare", "--user", "--map-user=1000", "--map-group=1000", "--keep-caps", "--net", "--mount")
"""As root, tcpdump would want to become another user, whom the namespace does not have."""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    return run_cases(CASES, tmp_path_factory.mktemp("faults"), NOT_AS_ROOT, timeout_s=TIMEOUT_S)


@pytest.mark.timeout(TIMEOUT_S + 20)
@pytest.mark.parametrize("case", case_names(CASES))
def test_delivery_faults(case: str, outcomes: dict[str, Outcome]) -> None:
    outcome = outcomes[case]
    if outcome.kind == "skipped":
        pytest.skip(outcome.text)
    assert outcome.kind == "passed", outcome.text
