"""Plots of benchmarks as SVG, with a ground of their own that follows the reader's light or dark scheme."""

import math
from collections.abc import Sequence
from html import escape

__all__ = ["bars", "line"]

WIDTH = 720
STYLE = (
    "<style>.g{fill:#fff}.t{fill:#222}.b{fill:#2f6fb0}.o{fill:#8a8f98}.l{stroke:#2f6fb0}.m{stroke:#c0392b}"
    "@media(prefers-color-scheme:dark){.g{fill:#17191d}.t{fill:#e4e6ea}.b{fill:#6ba7e5}.o{fill:#868c96}"
    ".l{stroke:#6ba7e5}.m{stroke:#ff7b6b}}</style>"
)


def bars(title: str, rows: Sequence[tuple[str, float, str]], *, ours: str, log: bool = False) -> str:
    """Bars of (name, value, text beside it); those whose name begins with `ours` stand out. `log`: by powers of ten."""
    left, right, step = 200, 110, 26
    least, most = min(value for _, value, _ in rows), max(value for _, value, _ in rows)
    floor = math.floor(math.log10(least)) if log else 0.0

    def length(value: float) -> float:
        share = (math.log10(value) - floor) / (math.log10(most) - floor) if log else value / most
        return max(1.0, share * (WIDTH - left - right))

    parts = []
    for number, (name, value, text) in enumerate(rows):
        y = 40 + number * step
        wide = length(value)
        parts.append(
            f'<text class="t" x="{left - 8}" y="{y + 13}" text-anchor="end">{escape(name)}</text>'
            f'<rect class="{"b" if name.startswith(ours) else "o"}" x="{left}" y="{y}" width="{wide:.1f}" height="18"/>'
            f'<text class="t" x="{left + wide + 6:.1f}" y="{y + 13}">{escape(text)}</text>'
        )
    return drawing(title, 48 + len(rows) * step, parts)


def line(title: str, points: Sequence[tuple[float, float]], limit: float) -> str:
    """A value over time in seconds, and a limit as a dashed line."""
    high, left, right, bottom = 240, 56, 32, 32
    span_s = max(points[-1][0] - points[0][0], 1e-9)
    most = 1.1 * max(max(value for _, value in points), limit)

    def x(at_s: float) -> float:
        return left + (WIDTH - left - right) * (at_s - points[0][0]) / span_s

    def y(value: float) -> float:
        return high - bottom - (high - bottom - 28) * value / most

    step = max(1, len(points) // 300)
    way = " ".join(f"{x(at):.1f},{y(value):.1f}" for at, value in points[::step])
    parts = [
        f'<text class="t" x="{left - 6}" y="{y(v) + 4:.1f}" text-anchor="end">{v:.0f}</text>'
        for v in sorted({0, limit, most / 1.1})
    ]
    parts += [
        f'<text class="t" x="{x(points[0][0] + span_s * k / 4):.1f}" y="{high - 12}" text-anchor="middle">'
        f"{span_s * k / 240:.1f} min</text>"
        for k in range(5)
    ]
    parts.append(
        f'<line class="m" x1="{left}" x2="{WIDTH - right}" y1="{y(limit):.1f}" y2="{y(limit):.1f}" '
        f'stroke-dasharray="4 3"/><polyline class="l" fill="none" stroke-width="1.5" points="{way}"/>'
    )
    return drawing(title, high, parts)


def drawing(title: str, high: int, parts: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {high}" width="{WIDTH}" role="img" '
        f'font-family="sans-serif" font-size="13">{STYLE}<title>{escape(title)}</title>'
        f'<rect class="g" width="{WIDTH}" height="{high}" rx="6"/>'
        f'<text class="t" x="16" y="24" font-weight="600">{escape(title)}</text>{"".join(parts)}</svg>\n'
    )
