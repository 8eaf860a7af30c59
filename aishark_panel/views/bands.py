"""Bands: times in which a chart does not show all there was, and why. Pure: what the hub tells in, columns out."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final

from aishark_panel.views.columns import Span

__all__ = ["Bands", "bands"]

_GAP, _LOSS, _UNKNOWN = "#96a0ab", "#e5484d", "#96a0ab"
_OPEN_MS: Final = 2**53


@dataclass(slots=True)
class Bands:
    """Times within a span, lists of equal length."""

    left: list[float]
    right: list[float]
    colour: list[str]
    text: list[str]

    @classmethod
    def none(cls) -> "Bands":
        return cls([], [], [], [])

    def columns(self) -> dict[str, Any]:
        """As a Bokeh source takes them."""
        return asdict(self)


def bands(
    span: Span, gaps: Iterable[dict[str, Any]], losses: Iterable[dict[str, Any]], known_from_ms: float = 0
) -> Bands:
    """Gaps, losses, and what is before the first packet that was counted, as far as they are within the span."""
    found = [
        (gap["start_ns"] / 1e6, gap["end_ns"] / 1e6 or _OPEN_MS, _GAP, f"{_who(gap)} was not heard {_times(gap)}")
        for gap in gaps
    ]
    found += [
        (
            loss["start_ns"] / 1e6,
            loss["end_ns"] / 1e6,
            _LOSS,
            f"{loss['packets']:,} packets of agent {loss['agent']} were lost, noticed {_times(loss)}",
        )
        for loss in losses
    ]
    if known_from_ms > span.start_ms:
        found.append((0.0, known_from_ms, _UNKNOWN, "Packets from before are no longer kept, and were not counted so"))
    shown = [
        (max(left, span.start_ms), min(right, span.end_ms), colour, text)
        for left, right, colour, text in found
        if left < span.end_ms and right > span.start_ms
    ]
    return Bands(*(list(column) for column in zip(*shown, strict=True))) if shown else Bands.none()


def _who(gap: dict[str, Any]) -> str:
    return f"Agent {gap['agent']}" if gap.get("agent") else "The hub"


def _times(times: dict[str, Any]) -> str:
    start, end = (datetime.fromtimestamp(times[key] / 1e9, UTC) for key in ("start_ns", "end_ns"))
    return f"{start:%H:%M:%S} to {end:%H:%M:%S}" if times["end_ns"] else f"since {start:%H:%M:%S}"
