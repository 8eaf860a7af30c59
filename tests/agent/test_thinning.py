"""Thinning: by halves, once a second, and back more slowly."""

from aishark_panel.agent.thinning import Thinning


def test_it_halves_while_half_is_taken_and_relaxes_later() -> None:
    thinning = Thinning()
    steps = [(0.4, 0.0), (0.5, 0.1), (0.9, 0.5), (0.9, 1.2), (0.3, 9.0), (0.2, 9.1), (0.2, 10.0), (0.2, 15.0)]
    factors = []
    for fill, now_s in steps:
        before = thinning.factor
        assert thinning.follow(fill, now_s) == (thinning.factor != before)
        factors.append(thinning.factor)
    assert factors == [1, 2, 2, 4, 4, 2, 2, 1]


def test_it_has_an_end() -> None:
    thinning = Thinning()
    for second in range(100):
        thinning.follow(1.0, float(second))
    assert thinning.factor == 1024
