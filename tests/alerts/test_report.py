"""What rules found, as tables for a terminal."""

import pytest

from aishark_panel.alerts.report import noise_table


@pytest.mark.parametrize(("per_hour", "shown"), [(1080.0, "1,080"), (93.4, "93"), (7.25, "7.2"), (0.123, "0.12")])
def test_rates_are_numbers_that_people_read(per_hour: float, shown: str) -> None:
    line = {"rule": "r", "alerts": 1, "keys": 1, "per_hour": per_hour, "firing_s": 1.0, "share_firing": 0.1}
    table = noise_table([{**line, "noise": "noisy"}])
    assert list(table.columns[3].cells) == [shown]
