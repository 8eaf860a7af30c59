"""What a soak is failed for, and its report; the soak itself takes half an hour (`make soak`)."""

import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.soak_report import Event, Report, growth_of, longest_lives, write_report

MINUTES = 30.0


def life(mib: "np.typing.NDArray[np.floating[Any]]", full_after: int = 0) -> list[dict[str, object]]:
    """Samples of a hub with that memory, over half an hour; so many come before its table is full."""
    at_s = np.linspace(0, 60 * MINUTES, len(mib))
    return [
        {
            "at_s": float(at),
            "pids": {"hub": 7},
            "private_mib": {"hub": float(m)},
            "cpu_s": 1.0,
            "answer_ms": 5,
            "packets": {"soak": int(1_000 * at)},
            "waiting": 3,
            "dropped": {"sampled_out": int(at)},
            "alerts": 1,
            "forgotten": 131_072 * (n >= full_after),
        }
        for n, (at, m) in enumerate(zip(at_s, mib, strict=True))
    ]


NOISE = np.random.default_rng(1).normal(0, 3, 300)
STEPS = np.arange(300)


@pytest.mark.parametrize(
    ("mib", "bounded"),
    [
        (400 + NOISE, True),
        (100 + 300 * (1 - np.exp(-STEPS / 40)) + NOISE, True),  # caches fill
        (200 + 0.4 * STEPS + NOISE, False),  # 240 MiB an hour
        (400 + 0.05 * STEPS + NOISE, True),  # 30 MiB an hour, of 400
        (50 + 0.05 * STEPS + NOISE, False),  # of 50
    ],
    ids=["flat", "filling", "leak", "little of much", "much of little"],
)
def test_memory_that_has_no_bound_is_told_from_caches(mib: "np.typing.NDArray[np.float64]", bounded: bool) -> None:
    assert growth_of(np.linspace(0, 60 * MINUTES, len(mib)), mib).bounded is bounded


def test_a_short_life_is_not_judged() -> None:
    growth = growth_of(np.linspace(0, 300, 100), np.linspace(0, 1_000, 100))
    assert (growth.per_hour_mib, growth.bounded) == (None, True)


FILLING = np.minimum(200 + 2.0 * STEPS, 500) + NOISE
"""MiB of a hub whose table is full at half time"""


def test_a_hub_is_judged_from_when_its_table_was_full() -> None:
    grew, flat = (longest_lives(life(FILLING, full_after))["hub"] for full_after in (0, 150))
    assert flat[0][0] == pytest.approx(60 * MINUTES * 150 / 299)
    assert (growth_of(*grew).bounded, growth_of(*flat).bounded) == (True, True)
    assert growth_of(*flat).per_hour_mib == pytest.approx(0, abs=16)
    still_filling = report(samples=life(200 + 2.0 * STEPS, full_after=300))
    assert "hub" not in longest_lives(still_filling.samples)


def report(**changes: object) -> Report:
    made = Report(minutes=MINUTES, rates={"live": 1}, kernel="6", cores=2, samples=life(400 + NOISE))
    made.events.append(Event("hub <killed>", 60.0, 62.0, 70.0))
    for name, value in changes.items():
        setattr(made, name, value)
    return made


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "All is well"),
        ({"wrong": ["session soak: ring differs by 3"]}, "ledger: session soak: ring differs by 3"),
        ({"deaths": ["hub: status -11"]}, "died: hub: status -11"),
        ({"samples": life(200 + 0.4 * STEPS + NOISE)}, "memory without bound: hub"),
    ],
    ids=["well", "ledger", "death", "leak"],
)
def test_a_soak_fails_for_three_reasons_alone(
    changes: dict[str, object], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert write_report(report(**changes), tmp_path) is (changes == {})
    assert said in capsys.readouterr().out
    assert said in (tmp_path / "soak.md").read_text()


def test_the_plot_is_an_image_with_each_fault_in_each_chart(tmp_path: Path) -> None:
    write_report(report(), tmp_path)
    marks = ET.parse(tmp_path / "soak.svg").iter("{http://www.w3.org/2000/svg}title")
    assert [mark.text for mark in marks] == ["hub <killed>"] * 5
