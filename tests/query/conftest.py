"""Fixtures of the query tests: the sample block, and what expressions select in it."""

from collections.abc import Callable

import numpy as np
import pytest

from aishark_panel.query import compile_expression
from aishark_panel.wire.packets import Packets
from tests.query.blocks import INTERFACES, SAMPLE, fill


@pytest.fixture(scope="session")
def sample() -> Packets:
    """The rows of SAMPLE."""
    return fill(SAMPLE)


@pytest.fixture(scope="session")
def select(sample: Packets) -> Callable[[str], list[int]]:
    """`select(text)` is the rows of SAMPLE that an expression selects."""

    def selected(text: str) -> list[int]:
        mask = compile_expression(text).mask(sample, 0, sample.length, INTERFACES)
        assert mask.dtype == np.bool_
        assert mask.shape == (sample.length,)
        return np.flatnonzero(mask).tolist()

    return selected
