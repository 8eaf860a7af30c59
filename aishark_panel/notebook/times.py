"""Times and spans of time as people write them in cells."""

import contextlib
import re
from datetime import datetime
from typing import Final

import pandas as pd

from aishark_panel.errors import ConfigError

__all__ = ["Moment", "nanoseconds", "seconds"]

Moment = str | datetime | pd.Timestamp
"""A time, in UTC unless it says otherwise."""
_SECONDS: Final = {"ms": 1e-3, "s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0}


def nanoseconds(moment: Moment) -> int:
    """Since 1970. Raises ConfigError."""
    try:
        found = pd.Timestamp(moment)
        return int((found.tz_localize("UTC") if found.tzinfo is None else found).value)
    except (ValueError, TypeError, OverflowError) as error:
        raise ConfigError(f"{moment!r:.60} is no time; write for example '2026-11-26 12:00' ({error})") from None


def seconds(span: str | float) -> float:
    """Seconds of "30s", "5 min", "500ms", "1h", or of a number. Raises ConfigError."""
    found = re.fullmatch(r"\s*([0-9.]+)\s*([a-z]*)\s*", str(span))
    with contextlib.suppress(ValueError, KeyError):
        if found:
            return float(found[1]) * _SECONDS[found[2] or "s"]
    raise ConfigError(
        f"last={span!r:.40} is not a time span; write for example last='30s', '5min' or a number of seconds"
    )
