"""docs/mission.md names tests that exist."""

import re

import pytest

from tests.codebase.sources import ROOT

PROOFS = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (ROOT / "docs" / "mission.md").read_text("utf-8"))


@pytest.mark.parametrize(("path", "name"), PROOFS, ids=[name for _, name in PROOFS])
def test_a_named_proof_exists(path: str, name: str) -> None:
    assert re.search(rf"^def {name}\(", (ROOT / path).read_text("utf-8"), re.MULTILINE)


def test_there_are_proofs() -> None:
    assert len(PROOFS) > 40
