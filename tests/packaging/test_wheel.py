"""What the wheel and the source distribution hold; `make install-check` installs and tries them."""

import tarfile
import tomllib
import zipfile
from collections.abc import Callable
from configparser import ConfigParser
from importlib import import_module
from pathlib import Path

import pytest
from hatchling import build

from tests.codebase.sources import ROOT

MAX_WHEEL_BYTES = 1_500_000
"""What an agent's host loads beside the packages it needs; a third more than when it was looked at"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("wheel"), build.build_wheel)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("source"), build.build_sdist)


def built(folder: Path, by: Callable[[str], str]) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        return folder / by(str(folder))


def of_package() -> set[str]:
    """Every file of the package that is source."""
    files = (path for path in (ROOT / "aishark_panel").rglob("*") if path.is_file())
    made = {".pyc", ".nbi", ".nbc"}
    return {str(path.relative_to(ROOT)) for path in files if path.suffix not in made}


def test_the_wheel_is_the_package_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    held = {name for name in names if ".dist-info/" not in name}
    assert held == of_package()
    kinds = {Path(name).suffix for name in held}
    assert kinds == {".py", ".js", ".css", ".html", ".yaml", ".typed"}
    assert wheel.name.endswith("-py3-none-any.whl")
    assert wheel.stat().st_size < MAX_WHEEL_BYTES
    assert any(name.endswith("/licenses/LICENSE") for name in names)


def test_the_command_of_the_wheel_is_there(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (each for each in archive.namelist() if each.endswith("/entry_points.txt"))
        points = ConfigParser()
        points.read_string(archive.read(name).decode())
    assert {key: dict(points[key]) for key in points.sections()} == {
        "console_scripts": {"aishark": "aishark_panel.cli:main"}
    }
    assert callable(import_module("aishark_panel.cli").main)


def test_the_metadata_names_what_is_needed(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (each for each in archive.namelist() if each.endswith("/METADATA"))
        said = archive.read(name).decode().splitlines()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = [line.removeprefix("Requires-Dist: ").lower() for line in said if line.startswith("Requires-Dist: ")]
    assert {each.lower() for each in project["dependencies"]} == {each for each in needed if "extra ==" not in each}
    extras = {line.removeprefix("Provides-Extra: ") for line in said if line.startswith("Provides-Extra: ")}
    assert extras == set(project["optional-dependencies"])


def test_the_source_distribution_holds_what_its_tests_read(source: Path) -> None:
    with tarfile.open(source) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    for folder in (".ci", ".github", "aishark_panel", "benchmarks", "docs", "notebooks", "packaging", "tests"):
        theirs = {str(path.relative_to(ROOT)) for path in (ROOT / folder).rglob("*") if is_source(path)}
        assert theirs <= held
    loose = {".gitignore", ".pre-commit-config.yaml", "Containerfile", "LICENSE", "Makefile", "environment.yml"}
    assert loose | {path.name for path in ROOT.glob("*.md")} | {"pyproject.toml"} <= held


def is_source(path: Path) -> bool:
    return path.is_file() and "__pycache__" not in path.parts and not path.name.startswith(".coverage")
