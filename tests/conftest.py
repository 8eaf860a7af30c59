"""What all tests share: a clean environment, the optional tools and captures, and the rule that CI skips nothing.

A test that lacks a tool or a folder is skipped with its reason. With AISHARK_REQUIRE_ALL=1, as CI sets it, every skip
counts as a failure.
"""

import os
import shutil
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import hypothesis
import pytest

hypothesis.settings.register_profile("unhurried", deadline=None)  # how long an example takes depends on the machine
hypothesis.settings.load_profile("unhurried")
ROOT = Path(__file__).resolve().parents[1]
REQUIRE_ALL = os.environ.get("AISHARK_REQUIRE_ALL") == "1"

LONGEST = (
    "tests/integration/test_delivery_faults.py",
    "tests/integration/test_service.py",
    "tests/integration/test_journal.py",
    "tests/integration/test_alert_state.py",
    "tests/integration/test_mission_flow.py",
    "tests/streams/test_alerts_live.py",
    "tests/dissect/test_bounds_check.py",
    "tests/browser/test_alerts.py",
    "tests/alerts/test_builtin.py",
    "tests/integration/test_spool.py",
    "tests/integration/test_attacks.py",
    "tests/integration/test_rest.py",
    "tests/integration/test_accounts.py",
    "tests/agent/test_capture.py",
    "tests/docs/test_run.py",
    "tests/docs/test_site.py",
    "tests/integration/test_recording_restart.py",
    "tests/integration/test_delivery.py",
    "tests/integration/test_recording.py",
    "tests/integration/test_remote_control.py",
    "tests/integration/test_live.py",
    "tests/integration/test_agents.py",
    "tests/integration/test_faults.py",
    "tests/browser/test_dashboard.py",
    "tests/browser/test_tabs.py",
    "tests/browser/test_packets.py",
    "tests/notebook/test_magic.py",
    "tests/integration/test_extcap.py",
    "tests/notebook/test_jupyterlab.py",
    "tests/notebook/test_notebooks.py",
    "tests/notebook/test_interrupts.py",
    "tests/archive/test_archive.py",
    "tests/integration/test_history.py",
    "tests/browser/test_history.py",
    "tests/integration/test_hub.py",
    "tests/integration/test_interface.py",
    "tests/integration/test_people.py",
    "tests/integration/test_remote.py",
    "tests/integration/test_proxy.py",
)
"""Files that take longest. They begin first, so that in the end no worker is busy while others have none left; those
that wait, that compute and that have a browser take turns: three browsers at once outlast the patience of tests."""

REAL = ("tests/integration/", "tests/browser/", "tests/notebook/", "tests/agent/", "tests/docs/test_run.py")
"""Folders whose tests wait for real processes, browsers and networks. On a machine that others use too that can take
longer than any patience, so such a test that failed is tried twice more; pytest's summary names it (RERUN)."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, and leave the order as it is otherwise; try what is real again."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.nodeid.partition("::")[0], len(places)))
    for item in items:
        if item.nodeid.startswith(REAL) and item.config.pluginmanager.hasplugin("rerunfailures"):
            item.add_marker(pytest.mark.flaky(reruns=2))


@pytest.fixture(scope="session", autouse=True)
def clean_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No AISHARK_* variable of the shell reaches a test or a process it starts, and no agent's status the user's."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AISHARK_")]:
            patch.delenv(name)
        patch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("runtime")))
        yield


@pytest.fixture(scope="session")
def require_tool() -> Callable[[str], str]:
    """`require_tool("tshark")` is the path of that command; the test is skipped where it is not installed."""
    return _path_of


def _path_of(*names: str) -> str:
    """The path of the first of these commands that is installed."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
    found = next((found for name in names if (found := shutil.which(name, path=path))), None)
    if found is None:
        pytest.skip(f"the command {' or '.join(names)} is not installed")
    return found


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium. The one without any window is the same engine, and takes less than half the time."""
    return _path_of("chromium-headless-shell", "chromium")


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder of capture files by others, `shared` beside the checkout; skipped where it does not exist."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip(f"there is no folder {folder} with captures by others")
    return folder


@pytest.fixture(scope="session")
def shared_captures(shared_dir: Path) -> Path:
    """The capture files within `shared_dir`."""
    return shared_dir / "captures"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Make a skipped test a failed one where nothing may be skipped; expected failures stay what they are."""
    report = yield
    if not hasattr(report, "wasxfail"):
        _refuse_skip(report)
    if report.failed:  # what it left open is found when it is collected as garbage, in some later test
        item.config.addinivalue_line("filterwarnings", "ignore::pytest.PytestUnraisableExceptionWarning")
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """The same for a module that skips itself while it is imported."""
    report = yield
    _refuse_skip(report)
    return report


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if REQUIRE_ALL and report.skipped:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"AISHARK_REQUIRE_ALL=1 allows no skips: {reason}"
