"""Packets over time as a small picture: SVG that stands in a cell's output, also where nothing runs that could draw."""

from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd

__all__ = ["histogram"]

_BARS: Final = 120
_WIDTH: Final = 600
_HEIGHT: Final = 90
_TOP: Final = 14
_BOTTOM: Final = 16


def histogram(times_ns: npt.NDArray[np.int64]) -> str:
    """How many packets came in each of 120 equal spans of time; '' for fewer than two moments. `times_ns`: (n,) UTC."""
    if not len(times_ns) or (first := int(times_ns.min())) == (last := int(times_ns.max())):
        return ""
    # Offsets from the first: as float64, times of day are exact to 0.3 µs only.
    counts, edges = np.histogram(times_ns - first, bins=_BARS, range=(0, last - first))
    most, room = int(counts.max()), _HEIGHT - _TOP - _BOTTOM
    width = _WIDTH / _BARS
    bars = []
    for place in np.flatnonzero(counts):
        height = max(1.0, room * counts[place] / most)
        at = pd.Timestamp(first + int(edges[place]), tz="UTC")
        box = f"x='{place * width:.1f}' y='{_TOP + room - height:.1f}' width='{width - 0.5:.1f}' height='{height:.1f}'"
        bars.append(f"<rect {box}><title>{at:%H:%M:%S.%f} UTC: {counts[place]:,} packets</title></rect>")
    span = _span((last - first) / _BARS / 1e9)
    start, end = (pd.Timestamp(time, tz="UTC") for time in (first, last))
    text = "font-size='11' fill='currentColor' opacity='0.7'"
    return (
        f"<svg viewBox='0 0 {_WIDTH} {_HEIGHT}' width='{_WIDTH}' style='max-width: 100%' role='img' "
        f"aria-label='packets over time'><g fill='#4c8dd6'>{''.join(bars)}</g>"
        f"<text x='0' y='10' {text}>up to {most:,} packets in {span}</text>"
        f"<text x='0' y='{_HEIGHT - 3}' {text}>{start:%Y-%m-%d %H:%M:%S} UTC</text>"
        f"<text x='{_WIDTH}' y='{_HEIGHT - 3}' text-anchor='end' {text}>{end:%H:%M:%S}</text></svg>"
    )


def _span(seconds: float) -> str:
    for unit, size in (("h", 3600.0), ("min", 60.0), ("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e9:.0f} ns"
