"""Continuous integration, releases and hooks name what is there; and a release asks for a changelog that is ready."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
CHANGELOG = """# Changelog

## [Unreleased]

## [0.2.0] - 2026-12-01

### Added

- A thing.

## [0.1.0] - 2026-01-01

- All.
"""


def commands(path: Path) -> list[str]:
    """What the jobs of a workflow run."""
    jobs = yaml.safe_load(path.read_text())["jobs"]
    return [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]


def test_there_are_workflows_for_changes_and_for_releases() -> None:
    assert {path.name for path in WORKFLOWS} >= {"ci.yml", "release.yml"}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_run_targets_and_files_that_exist(path: Path) -> None:
    said = "\n".join(commands(path))
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z-]+)", said)) <= targets
    files = re.findall(r"(?<![\w/])(?:\.ci|packaging|tests|docs)/[\w./-]+", said)
    assert [file for file in files if not (ROOT / file).exists()] == []


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_may_only_read_unless_a_job_says_otherwise(path: Path) -> None:
    assert yaml.safe_load(path.read_text())["permissions"] == {"contents": "read"}


def test_ci_runs_each_python_that_the_package_is_for() -> None:
    matrix = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]["test"]["strategy"]["matrix"]
    classifiers = re.findall(r"Python :: (3\.\d+)", (ROOT / "pyproject.toml").read_text())
    assert matrix["python"] == classifiers


def test_a_bug_report_asks_for_what_finds_bugs() -> None:
    form = yaml.safe_load((ROOT / ".github/ISSUE_TEMPLATE/bug.yml").read_text())
    assert {part["id"] for part in form["body"]} == {"what", "command", "version", "ledger", "logs"}
    assert yaml.safe_load((ROOT / ".github/ISSUE_TEMPLATE/feature.yml").read_text())["body"]


def test_hooks_are_programs_of_the_development_environment() -> None:
    repos = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert [repo["repo"] for repo in repos] == ["local"]
    for hook in repos[0]["hooks"]:
        program = hook["entry"].split()[0]
        assert program.startswith(".venv/bin/")
        assert (Path(sys.executable).parent / Path(program).name).exists(), program


def changelog_check(tmp_path: Path, tag: str, changelog: str) -> "subprocess.CompletedProcess[str]":
    """The check, on a package of version 0.2.0."""
    (tmp_path / "packaging").mkdir()
    (tmp_path / "packaging" / "changelog.py").write_text((ROOT / "packaging" / "changelog.py").read_text())
    (tmp_path / "aishark_panel").mkdir()
    (tmp_path / "aishark_panel" / "__init__.py").write_text('__version__ = "0.2.0"\n')
    (tmp_path / "CHANGELOG.md").write_text(changelog)
    command = [sys.executable, "-I", "-S", str(tmp_path / "packaging" / "changelog.py"), tag]
    return subprocess.run(command, capture_output=True, text=True)


def test_a_release_that_is_ready_has_its_notes(tmp_path: Path) -> None:
    done = changelog_check(tmp_path, "v0.2.0", CHANGELOG)
    assert (done.returncode, done.stdout) == (0, "### Added\n\n- A thing.\n")


@pytest.mark.parametrize(
    ("tag", "before", "after", "said"),
    [
        ("v0.3.0", "", "", "The tag is v0.3.0, and the package's version 0.2.0"),
        ("0.2.0", "", "", "has to be v0.2.0"),
        ("v0.2.0", "## [0.2.0]", "## [0.1.9]", "no section '## [0.2.0] - YYYY-MM-DD'"),
        ("v0.2.0", " - 2026-12-01", "", "dates 0.2.0 ''"),
        ("v0.2.0", "2026-12-01", "2026-13-01", "dates 0.2.0 '2026-13-01'"),
        ("v0.2.0", "### Added\n\n- A thing.\n", "", "says nothing of 0.2.0"),
        ("v0.2.0", "## [Unreleased]\n", "## [Unreleased]\n\n- More.\n", "still has something under Unreleased"),
    ],
)
def test_a_release_that_is_not_ready_is_stopped_with_a_sentence(
    tmp_path: Path, tag: str, before: str, after: str, said: str
) -> None:
    done = changelog_check(tmp_path, tag, CHANGELOG.replace(before, after) if before else CHANGELOG)
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr


def test_the_projects_own_changelog_is_read() -> None:
    version = re.search(r'__version__ = "(.+)"', (ROOT / "aishark_panel" / "__init__.py").read_text())
    assert version
    check = [sys.executable, str(ROOT / "packaging" / "changelog.py"), f"v{version[1]}"]
    done = subprocess.run(check, capture_output=True, text=True)
    assert done.returncode == 0 or "Unreleased" in done.stderr or "no section" in done.stderr
