"""Rollups to chart arrays. Pure: record batches and numbers in, numpy arrays out.

`Bins` are the rollup rows a page has so far: one per (bin, group) that had packets, oldest first; groups are protocols,
or what else traffic is counted by. A `Span` says
which bins to draw and how many make one bar. `shares` and `stack` turn both into what a chart shows, never
more than MAX_BARS bars or TOP_PROTOCOLS + 1 slices, however long the capture and however many its protocols.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from aishark_panel.views.theme import FAMILIES, family_of

__all__ = ["KEPT_BINS", "MAX_BARS", "OTHER", "RESOLUTIONS_MS", "TOP_GROUPS", "TOP_PROTOCOLS", "WINDOWS", "Bins",
           "Share", "Span", "bars_by_group", "nice_ceiling", "plan", "shares", "stack", "zoom"]  # fmt: skip

MAX_BARS: Final = 600
"""Most bars in one chart: one for each pixel or two of a wide screen."""
MIN_BARS: Final = 20
"""Fewest bars in a window, however young the capture: fewer look like blocks."""
TOP_PROTOCOLS: Final = 8
"""Slices of the donut; the tail is one more, 'other'."""
RESOLUTIONS_MS: Final = (100, 1000, 60_000)
"""Bin widths the hub keeps."""
KEPT_BINS: Final = {100: 3_000, 1000: 3_700, 60_000: 1_440}
"""Bins of each width that the hub keeps."""
WINDOWS: Final = {"1 min": 60_000, "5 min": 300_000, "15 min": 900_000, "1 h": 3_600_000}
"""Windows that end now, in ms. The window 'all' covers the whole capture instead."""
_BAR_MS: Final = {60_000: 500, 300_000: 1000, 900_000: 3000, 3_600_000: 10_000}
TOP_GROUPS: Final = 8
"""Groups a chart tells apart; the rest is one more, 'other'."""
OTHER: Final = "other"

Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Bins:
    """Rollup rows of one resolution, sorted by bin; bin b covers [b, b + 1) * resolution_ms of packet time.

    Equal means the same object: `merge` returns itself where nothing changed, so a chart can tell at no cost.
    """

    resolution_ms: int
    bin: Int64
    group: npt.NDArray[np.int32]
    """index into `names`"""
    packets: Int64
    bytes: Int64
    names: tuple[str, ...] = ()

    @classmethod
    def empty(cls, resolution_ms: int) -> "Bins":
        zero = np.zeros(0, np.int64)
        return cls(resolution_ms, zero, np.zeros(0, np.int32), zero, zero)

    @property
    def cursor(self) -> int:
        """Where to ask next: the last bin held, which may have grown; 0 when there is none."""
        return int(self.bin[-1]) if len(self.bin) else 0

    def merge(self, batch: pa.RecordBatch, keep_from: int = 0) -> "Bins":
        """These rows with the hub's newer ones (columns bin, a group, packets, bytes) in place of the overlap.

        Rows before bin `keep_from` are forgotten.
        """
        if batch.num_rows == 0:
            return self
        new_bin = _int64(batch, "bin")
        order = np.argsort(new_bin, kind="stable")
        names, codes = _names(batch.column(1), self.names)
        start, stop = np.searchsorted(self.bin, (keep_from, int(new_bin.min())))
        stop = max(start, stop)
        columns = (
            (self.bin, new_bin[order]),
            (self.group, codes[order]),
            (self.packets, _int64(batch, "packets")[order]),
            (self.bytes, _int64(batch, "bytes")[order]),
        )
        if start == 0 and all(np.array_equal(old[stop:], new) for old, new in columns):
            return self
        bins, group, packets, volume = (np.concatenate([old[start:stop], new]) for old, new in columns)
        return Bins(self.resolution_ms, bins, group, packets, volume, names)


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Bins [first, end) of a resolution, drawn as bars of `step` bins; `first` and `end` are multiples of `step`."""

    resolution_ms: int
    first: int
    end: int
    step: int

    @property
    def bar_ms(self) -> int:
        return self.resolution_ms * self.step

    @property
    def bars(self) -> int:
        return (self.end - self.first) // self.step

    @property
    def start_ms(self) -> int:
        return self.first * self.resolution_ms

    @property
    def end_ms(self) -> int:
        return self.end * self.resolution_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """One slice: a protocol, or 'other' for the tail of `members` protocols."""

    name: str
    family: str
    packets: int
    bytes: int
    members: int = 1


def plan(window: str, first_ts: int, end_ts: int, *, growing: bool, now_ts: int | None = None) -> Span:
    """The span of a window ('1 min' ... 'all') that ends at `end_ts`, of a capture from `first_ts` on (ns).

    While the capture is `growing`, the bar it is filling now is left out: a bar that is half full looks like a drop.
    `now_ts`: the newest packet's time, if the window ends before it; bins are as narrow as the hub keeps them.
    """
    width_ms = WINDOWS.get(window) or (end_ts - first_ts) // 1_000_000
    age_ms = ((now_ts or end_ts) - end_ts) // 1_000_000
    bar_ms = max(_BAR_MS.get(width_ms, 0), -(-(width_ms + 1) // (MAX_BARS - 2)))
    resolution_ms = _resolution(width_ms + age_ms, bar_ms)
    step = max(1, -(-bar_ms // resolution_ms))
    bar_ns = resolution_ms * 1_000_000 * step
    end = (end_ts // bar_ns + (0 if growing else 1)) * step
    first = first_ts // bar_ns * step
    if window in WINDOWS:  # a young capture fills its chart from the first seconds on
        first = max(end - max(width_ms // resolution_ms // step, 1) * step, min(first, end - MIN_BARS * step))
    return Span(resolution_ms=resolution_ms, first=first, end=max(end, first + step), step=step)


def zoom(start_ts: int, end_ts: int) -> Span:
    """The span of a time that was chosen, [start, end) in ns, in whole bars."""
    width_ms = (end_ts - start_ts) // 1_000_000
    bar_ms = -(-(width_ms + 1) // (MAX_BARS - 2))
    resolution_ms = _resolution(width_ms, bar_ms)
    step = max(1, -(-bar_ms // resolution_ms))
    bar_ns = resolution_ms * 1_000_000 * step
    first = start_ts // bar_ns
    return Span(
        resolution_ms=resolution_ms, first=first * step, end=max(-(-end_ts // bar_ns), first + 1) * step, step=step
    )


def _resolution(reach_ms: int, bar_ms: int) -> int:
    """The widest bins that fit `bar_ms` of which the hub keeps enough to reach back so far; else the next wider."""
    kept = [r for r in RESOLUTIONS_MS if r * (KEPT_BINS[r] - 10) >= reach_ms] or [RESOLUTIONS_MS[-1]]
    return max((r for r in kept if r <= bar_ms), default=kept[0])


def bars_by_group(bins: Bins, span: Span, *, of_bytes: bool) -> tuple[list[str], npt.NDArray[np.float64]]:
    """Names of the TOP_GROUPS biggest groups, biggest first, with 'other' last, and packets or bytes per bar and group,
    shape (groups, bars)."""
    rows = _rows(bins, span)
    values = (bins.bytes if of_bytes else bins.packets)[rows]
    bar = (bins.bin[rows] - span.first) // span.step
    size = len(bins.names)
    cells = np.bincount(bins.group[rows].astype(np.int64) * span.bars + bar, values, size * span.bars)
    cells = cells.reshape(size, span.bars)
    totals = cells.sum(axis=1)
    order = sorted((k for k in range(size) if totals[k]), key=lambda k: (-totals[k], bins.names[k]))
    named = [k for k in order if bins.names[k] != OTHER]
    top = named[:TOP_GROUPS]
    rest = [k for k in order if k not in top]
    names, bars = [bins.names[k] for k in top], [cells[k] for k in top]
    if rest:
        names.append(OTHER)
        bars.append(cells[rest].sum(axis=0))
    return names, np.array(bars).reshape(len(names), span.bars)


def stack(bins: Bins, span: Span) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Packets, and bytes, per bar and family of protocols, shape (families, bars) in FAMILIES' order."""
    rows = _rows(bins, span)
    bar = (bins.bin[rows] - span.first) // span.step
    family = np.array([family_of(name) for name in bins.names], np.int64)[bins.group[rows]] if len(bar) else bar
    cell, size = family * span.bars + bar, len(FAMILIES) * span.bars
    packets, volume = (
        np.bincount(cell, values[rows], size).astype(np.float64) for values in (bins.packets, bins.bytes)
    )
    return packets.reshape(-1, span.bars), volume.reshape(-1, span.bars)


def shares(bins: Bins, span: Span) -> list[Share]:
    """Protocols of the span by bytes, biggest first, the tail as one 'other'; equal ones by name."""
    rows = _rows(bins, span)
    codes, size = bins.group[rows], len(bins.names)
    packets = np.bincount(codes, bins.packets[rows], size).astype(np.int64)
    volume = np.bincount(codes, bins.bytes[rows], size).astype(np.int64)
    seen = sorted((k for k in range(size) if packets[k]), key=lambda k: (-volume[k], bins.names[k]))
    cut = len(seen) if len(seen) <= TOP_PROTOCOLS + 1 else TOP_PROTOCOLS
    result = [
        Share(
            name=bins.names[k],
            family=FAMILIES[family_of(bins.names[k])].key,
            packets=int(packets[k]),
            bytes=int(volume[k]),
        )
        for k in seen[:cut]
    ]
    tail = seen[cut:]
    if tail:
        result.append(
            Share(
                name="other",
                family=FAMILIES[-1].key,
                packets=int(packets[tail].sum()),
                bytes=int(volume[tail].sum()),
                members=len(tail),
            )
        )
    return result


def nice_ceiling(value: float) -> float:
    """The least of 1, 1.5, 2, 3, 4, 5, 6, 8 times a power of ten that is not below `value`; 1 for 0.

    An axis that ends there changes seldom while the data dances.
    """
    if value <= 0:
        return 1.0
    power = 10.0 ** np.floor(np.log10(value))
    return float(next(m * power for m in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if m * power >= value * (1 - 1e-12)))


def _rows(bins: Bins, span: Span) -> slice:
    if bins.resolution_ms != span.resolution_ms:
        return slice(0, 0)
    start, stop = np.searchsorted(bins.bin, [span.first, span.end])
    return slice(int(start), int(stop))


def _int64(batch: pa.RecordBatch, name: str) -> Int64:
    values: Int64 = batch.column(name).to_numpy(zero_copy_only=False).astype(np.int64)
    return values


def _names(column: pa.Array, known: tuple[str, ...]) -> tuple[tuple[str, ...], npt.NDArray[np.int32]]:
    """Codes of a text column in `known`, which grows by the names it lacks."""
    encoded = column if isinstance(column, pa.DictionaryArray) else column.dictionary_encode()
    texts = encoded.dictionary.to_pylist()
    names = list(known)
    names.extend(text for text in dict.fromkeys(texts) if text not in known)
    place = np.array([names.index(text) for text in texts], np.int32)
    return tuple(names), place[encoded.indices.to_numpy(zero_copy_only=False)]
