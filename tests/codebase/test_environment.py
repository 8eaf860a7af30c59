"""environment.yml asks conda for what pyproject.toml asks pip for: the same packages with the same lower bounds."""

import re
import tomllib

import yaml

from tests.codebase.sources import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
CONDA_EXTRAS = ("hub", "quic", "dashboard", "archive", "cluster", "notebook", "docs")


def bounds(requirements: list[str]) -> dict[str, str]:
    """Package to version bound; requirements on this project's own extras are left out."""
    pairs = (re.fullmatch(r"([A-Za-z0-9_.-]+)(\[.*\])?(.*)", requirement) for requirement in requirements)
    named = {pair[1].lower(): pair[3] for pair in pairs if pair}
    return {name: bound for name, bound in named.items() if name != PROJECT["name"]}


def conda_bounds() -> dict[str, str]:
    entries = yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))["dependencies"]
    by_conda = [entry for entry in entries if isinstance(entry, str) and entry != "pip"]
    by_pip = [line for entry in entries if isinstance(entry, dict) for line in entry["pip"]]
    return bounds(by_conda + [line for line in by_pip if not line.startswith("-")])


def test_conda_and_pip_install_the_same() -> None:
    optional = PROJECT["optional-dependencies"]
    expected = bounds([*PROJECT["dependencies"], *(line for extra in CONDA_EXTRAS for line in optional[extra])])
    assert conda_bounds() == expected | {"python": PROJECT["requires-python"]}


def test_every_requirement_has_a_lower_bound_and_no_cap() -> None:
    groups = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    for group in groups:
        for name, bound in bounds(group).items():
            assert re.fullmatch(r">=[0-9.]+", bound), f"{name}{bound}"


def test_a_package_named_twice_has_one_bound() -> None:
    groups = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    pairs = {(name, bound) for group in groups for name, bound in bounds(group).items()}
    assert len(pairs) == len({name for name, _ in pairs})
