"""Runs a file of test cases inside a network namespace of its own, where a test may make interfaces and capture.

An ordinary user gets one by having a user namespace too. Where the system allows neither, the cases are skipped.
"""

import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import pytest

__all__ = ["AS_ROOT", "Outcome", "case_names", "run_cases"]

ROOT = Path(__file__).resolve().parents[2]
AS_ROOT = ("unshare", "--user", "--map-root-user", "--net")
"""A namespace in which the caller is root, whoever he is outside."""


class Outcome(NamedTuple):
    """How one case ended there."""

    kind: str
    """failed, passed or skipped; of the runs of a parametrized case the first of these that occurs"""
    text: str


def case_names(cases: Path) -> list[str]:
    """The test functions of a file, in order."""
    return re.findall(r"^def (test_\w+)", cases.read_text("utf-8"), re.MULTILINE)


def run_cases(cases: Path, folder: Path, unshare: tuple[str, ...], timeout_s: float = 110) -> dict[str, Outcome]:
    """Run all cases in one new namespace, and those that fail once more in another; `folder` is for the reports."""
    allowed = subprocess.run([*unshare, "true"], capture_output=True, text=True)
    if allowed.returncode:
        pytest.skip(f"no network namespace can be made here: {allowed.stderr.strip()}")
    outcomes = _run(cases, "", folder / "report.xml", unshare, timeout_s)
    failed = [name for name, outcome in outcomes.items() if outcome.kind == "failed"]
    if failed:
        outcomes |= _run(cases, " or ".join(failed), folder / "again.xml", unshare, timeout_s)
    return outcomes


def _run(cases: Path, only: str, report: Path, unshare: tuple[str, ...], timeout_s: float) -> dict[str, Outcome]:
    """Run the cases whose names `only` selects."""
    without = ("cacheprovider", "schemathesis", "anyio", "rerunfailures")
    unused = [word for name in without for word in ("-p", f"no:{name}")]
    command = [*unshare, sys.executable, "-m", "pytest", "-q", *unused, f"--junitxml={report}", "-k", only, str(cases)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout_s)
    if not report.exists():
        pytest.fail(f"{cases.name} did not run:\n{run.stdout}\n{run.stderr}")
    outcomes: dict[str, Outcome] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        name = case.get("name", "").partition("[")[0]
        outcomes[name] = min(outcomes.get(name, Outcome("passed", "")), _outcome(case))
    return outcomes


def _outcome(case: ElementTree.Element) -> Outcome:
    for tag, kind in (("failure", "failed"), ("error", "failed"), ("skipped", "skipped")):
        if (found := case.find(tag)) is not None:
            return Outcome(kind, f"{found.get('message')}\n{found.text}")
    return Outcome("passed", "")
