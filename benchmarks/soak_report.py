"""What a soak found: the ledger as an equation, faults and recoveries, memory, as Markdown and as an SVG.

**Memory has no bound** if a process's private memory grows by more than 10 % of its median and more than 16 MiB an hour
(Theil-Sen slope), in both halves of what is judged: caches that fill grow less and less, a leak does not. Judged is the
longest life of each process but for its first third, if that leaves five minutes; shorter lives are not judged. A life
of the hub counts from when its table of conversations has been full.
"""

import html
import itertools
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from aishark_panel.streams.ledger import IN_PROGRESS

__all__ = ["EXCUSED", "Event", "Growth", "Report", "dropped_in", "growth_of", "publish", "waiting_in", "write_report"]

WARM_UP = 1 / 3
"""Of a life, in which caches and rings fill."""
LEAST_JUDGED_S = 300.0
MOST_PER_HOUR_MIB, MOST_PER_HOUR = 16.0, 0.10
"""A process grows without bound if it does so by more than both."""
EXCUSED = ("sampled_out", "throttled")
"""Parts of the ledger that were asked for."""
COLOURS = ("#3366cc", "#dc6a14", "#2a9d4b", "#b8338f", "#7d5bd0", "#0b9aa8", "#a4761c", "#d13b3b", "#6b7785")
BEGIN, END = "<!-- the report begins -->", "<!-- the report ends -->"


def waiting_in(books: dict[str, Any]) -> int:
    """Packets on their way from agents to rings."""
    stages = [stage for book in books.values() for stage in stages_of(book)]
    return sum(stage["parts"].get(name, 0) for stage in stages for name in IN_PROGRESS)


def dropped_in(books: dict[str, Any]) -> dict[str, int]:
    """Packets that did not come, by reason."""
    found: Counter[str] = Counter()
    for stage in (stage for book in books.values() for stage in stages_of(book)):
        for part, count in stage["parts"].items():
            if part in ("kernel_dropped", "failed", *EXCUSED) or part.startswith(("dropped_", "rejected_", "lost_")):
                found[part] += count
    return {part: count for part, count in found.items() if count}


def stages_of(book: dict[str, Any]) -> list[dict[str, Any]]:
    return [*(stage for agent in book["agents"] for stage in agent["stages"]), book["ring"]]


@dataclass(slots=True)
class Event:
    """A fault; times in seconds of the soak."""

    name: str
    begun_s: float
    ended_s: float
    recovered_s: float = 0.0
    """0: not within the soak's patience"""
    lost: Counter[str] = field(default_factory=Counter)
    """packets, by the reason that the ledger gives"""


@dataclass(slots=True)
class Report:
    """Everything that was seen."""

    minutes: float
    rates: dict[str, int]
    kernel: str
    cores: int
    lasted_s: float = 0.0
    samples: list[dict[str, Any]] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    books: dict[str, Any] = field(default_factory=dict)
    stats: dict[str, Any] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    """what does not add up"""
    deaths: list[str] = field(default_factory=list)
    """who died by itself, and of what"""
    wire: tuple[int, int] = (0, 0)
    """frames by the kernel's count, and by the agent's"""
    files: tuple[int, list[int]] = (0, [])
    """packets of the file, and of each replay of it"""
    loops: int = 0
    lives: dict[str, int] = field(default_factory=dict)
    exports: list[tuple[str, int]] = field(default_factory=list)
    exports_failed: int = 0
    readers: Counter[str] = field(default_factory=Counter)
    visitor: dict[str, int] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)
    follower: str = ""
    tracebacks: dict[str, int] = field(default_factory=dict)

    def read_log(self, name: str, text: str) -> None:
        """Note what a process said that it should not."""
        if count := text.count("Traceback (most recent call last)"):
            self.tracebacks[name] = count
        if name == "follower":
            self.follower = next((line for line in reversed(text.splitlines()) if line.startswith("{")), "")


@dataclass(frozen=True, slots=True)
class Growth:
    """How a process's private memory went over what is judged of it."""

    median_mib: float
    most_mib: float
    per_hour_mib: float | None = None
    """None: it did not live long enough to be judged"""
    bounded: bool = True


def growth_of(at_s: npt.NDArray[np.float64], mib: npt.NDArray[np.float64]) -> Growth:
    """Judge one life: memory at these times."""
    median, most = float(np.median(mib)), float(mib.max())
    warm = at_s >= at_s[0] + WARM_UP * (at_s[-1] - at_s[0])
    at_s, mib = at_s[warm], mib[warm]
    if at_s[-1] - at_s[0] < LEAST_JUDGED_S:
        return Growth(median, most)
    allowed = max(MOST_PER_HOUR_MIB, MOST_PER_HOUR * float(np.median(mib)))
    half = len(at_s) // 2
    halves = (_slope(at_s[:half], mib[:half]), _slope(at_s[half:], mib[half:]))
    return Growth(float(np.median(mib)), most, _slope(at_s, mib), bounded=min(halves) <= allowed)


def _slope(at_s: npt.NDArray[np.float64], mib: npt.NDArray[np.float64]) -> float:
    """Theil and Sen's: the median of the slopes between all pairs, MiB an hour."""
    first, second = np.triu_indices(len(at_s), 1)
    return 3600 * float(np.median((mib[second] - mib[first]) / (at_s[second] - at_s[first])))


def longest_lives(samples: list[dict[str, Any]]) -> dict[str, tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]]:
    """Times and private memory of each role's longest life; of a hub's only what came after its table was full."""
    lives: dict[str, dict[int, list[tuple[float, float]]]] = {}
    full: set[int] = set()
    for sample in samples:
        if sample.get("forgotten"):
            full.add(sample["pids"].get("hub", 0))
        for role, pid in sample["pids"].items():
            if role == "hub" and pid not in full:
                continue
            if (mib := sample["private_mib"][role]) > 0:
                lives.setdefault(role, {}).setdefault(pid, []).append((sample["at_s"], mib))
    found = {}
    for role, of_role in lives.items():
        points = np.array(max(of_role.values(), key=lambda life: life[-1][0] - life[0][0]))
        found[role] = points[:, 0], points[:, 1]
    return found


def write_report(report: Report, out: Path) -> bool:
    """Write soak.md and soak.svg, print the verdict; whether all is well."""
    growths = {role: growth_of(*life) for role, life in longest_lives(report.samples).items()}
    unbounded = [f"{role}: {g.per_hour_mib:+.0f} MiB an hour" for role, g in growths.items() if not g.bounded]
    failed = [
        *(f"ledger: {text}" for text in report.wrong),
        *(f"died: {text}" for text in report.deaths),
        *(f"memory without bound: {text}" for text in unbounded),
    ]
    verdict = ["**All is well**: the ledger adds up, nothing died by itself, no memory grew without bound."]
    if failed:
        verdict = ["**Something is wrong.**", "", *(f"- {text}" for text in failed)]
    lines = [
        *verdict,
        "",
        *_about(report),
        "",
        "![Memory, packets, what waits, and drops over time](images/soak.svg)",
        "",
    ]
    lines += ["### The ledger", "", *_ledger(report), "", "### Faults", "", *_faults(report), ""]
    lines += ["### Memory", "", *_memory(growths), "", "### What else was seen", "", *_others(report)]
    out.mkdir(parents=True, exist_ok=True)
    (out / "soak.md").write_text("\n".join(lines).rstrip() + "\n")
    (out / "soak.svg").write_text(plot(report))
    print("\n".join(lines))
    print(f"\nwritten: {out}/soak.md, soak.svg, soak.jsonl, logs")
    return not failed


def publish(out: Path, docs: Path) -> None:
    """Put a report and its plot into docs/soak.md and docs/images, between the marks."""
    page = docs / "soak.md"
    before, rest = page.read_text().split(BEGIN)
    after = rest.split(END)[1]
    page.write_text(f"{before}{BEGIN}\n\n{(out / 'soak.md').read_text()}\n{END}{after}")
    (docs / "images" / "soak.svg").write_text((out / "soak.svg").read_text())


def _about(report: Report) -> list[str]:
    cpu = [sample["cpu_s"] for sample in report.samples[1:]]
    span_s = report.samples[-1]["at_s"] - report.samples[0]["at_s"] if len(report.samples) > 1 else 0.0
    packets = sum(stats["packets"] for stats in report.stats.values())
    rates = ", ".join(f"{name} {rate:,}" for name, rate in report.rates.items())
    cores = sum(cpu) / span_s if span_s else 0.0
    return [
        f"{report.lasted_s / 60:.1f} minutes of {report.minutes:g}, {len(report.events)} faults, {packets:,} packets "
        f"taken; agents at {rates} packets/s; {cores:.2f} of {report.cores} cores in use by all "
        f"of it; Linux {report.kernel}."
    ]


def _ledger(report: Report) -> list[str]:
    """Each session's packets as sums."""
    lines = []
    for name, book in report.books.items():
        sums: dict[str, Counter[str]] = {}
        totals: Counter[str] = Counter()
        for stage in (stage for agent in book["agents"] for stage in agent["stages"]):
            sums.setdefault(stage["stage"], Counter()).update(stage["parts"])
            totals[stage["stage"]] += stage["packets"]
        sums["ring"], totals["ring"] = Counter(book["ring"]["parts"]), book["ring"]["packets"]
        what = {"capture": "matched", "agent": "captured", "hub": "taken", "ring": "ingested"}
        lines += [f"Session `{name}`, {len(book['agents'])} runs of agents:", "", "```"]
        for stage, parts in sums.items():
            kept = [f"{part} {count:,}" for part, count in parts.items() if count]
            lost = totals[stage] - sum(parts.values())
            lines.append(f"{what[stage]} {totals[stage]:,} = {' + '.join(kept) or 0}   unexplained: {lost:,}")
        for recording in book["recordings"]:
            kept = [f"{part} {count:,}" for part, count in recording["parts"].items() if count]
            lost = recording["difference"]
            lines.append(
                f"recording, offered {recording['packets']:,} = {' + '.join(kept) or 0}   unexplained: {lost:,}"
            )
        lines += ["```", ""]
    lines.append(
        f"By the kernel's count {report.wire[0]:,} frames passed the wire; the agent on it knows of {report.wire[1]:,}."
        f" Replays of the file that came to their end: {len(report.files[1])}, of {report.files[0]:,} packets each."
    )
    return lines


def _faults(report: Report) -> list[str]:
    lines = ["| at | fault | for | recovered after | lost meanwhile |", "| --- | --- | --- | --- | --- |"]
    for event in report.events:
        minutes, seconds = divmod(int(event.begun_s), 60)
        lost = ", ".join(f"{reason} {count:,}" for reason, count in event.lost.items() if count) or "none"
        took = f"{event.recovered_s - event.ended_s:.1f} s" if event.recovered_s else "not at all"
        lines.append(
            f"| {minutes}:{seconds:02} | {event.name} | {event.ended_s - event.begun_s:.0f} s | {took} | {lost} |"
        )
    return [
        *lines,
        "",
        "Recovered is when all agents are back, disks take what comes, and less than two seconds' wait.",
    ]


def _memory(growths: dict[str, Growth]) -> list[str]:
    lines = ["| private, MiB | median | most | growth an hour |", "| --- | --- | --- | --- |"]
    for role, growth in growths.items():
        told = "not judged" if growth.per_hour_mib is None else f"{growth.per_hour_mib:+.1f}"
        told += "" if growth.bounded else ", **without bound**"
        lines.append(f"| {role} | {growth.median_mib:.0f} | {growth.most_mib:.0f} | {told} |")
    return lines


def _others(report: Report) -> list[str]:
    answers = sorted(sample["answer_ms"] for sample in report.samples if "answer_ms" in sample)
    silent = sum("answer_ms" not in sample for sample in report.samples)
    by_form = {form: [n for f, n in report.exports if f == form] for form in ("pcapng", "parquet")}
    exports = "; ".join(f"{len(n)} as {form}, {sum(n):,} packets" for form, n in by_form.items() if n) or "none"
    alerts = max((sample.get("alerts", 0) for sample in report.samples), default=0)
    complaints = Counter(re.sub(r"\d+", "N", text)[:100] for text in report.complaints).most_common(5)
    middle = f"{answers[len(answers) // 2]} ms at the median, {answers[-1]} ms at most" if answers else "never"
    return [
        f"- The hub's statistics and ledgers came after {middle}; {silent} of {len(report.samples)} times not at all.",
        f"- Exports: {exports}; {report.exports_failed} failed. Alerts raised: {alerts:,}.",
        f"- The follower: {report.follower or 'nothing'}. Slow readers: {dict(report.readers)}.",
        f"- The browser: {report.visitor}; errors in its console: {dict(complaints) or 'none'}.",
        f"- Lives: {report.lives}; replays that ended: {report.loops}. "
        f"Tracebacks in logs: {report.tracebacks or 'none'}.",
    ]


Series = dict[str, list[tuple[float, float]]]


def plot(report: Report) -> str:
    """Five charts over one time, faults shaded; it follows the reader's light or dark."""
    samples = report.samples
    answered = [s for s in samples if "packets" in s]
    roles = sorted({role for s in samples for role in s["private_mib"]})
    reasons = sorted({reason for s in answered for reason in s["dropped"]})
    rates: Series = {}
    for before, after in itertools.pairwise(answered):
        span_s = after["at_s"] - before["at_s"]
        for name, packets in after["packets"].items():
            gain = packets - before["packets"].get(name, 0)
            rates.setdefault(name, []).append((after["at_s"], max(0, gain) / span_s))
    dropped = {r: [(s["at_s"], s["dropped"].get(r, 0)) for s in answered] for r in reasons}
    charts: list[tuple[str, Series]] = [
        ("private memory, MiB", {r: [(s["at_s"], s["private_mib"][r]) for s in samples] for r in roles}),
        ("packets taken a second, by session", rates),
        ("packets on their way", {"waiting": [(s["at_s"], s["waiting"]) for s in answered]}),
        ("packets left out or lost, by reason", dropped),
        ("answer of the hub, ms", {"answer": [(s["at_s"], s["answer_ms"]) for s in answered]}),
    ]  # fmt: skip
    end_s = max([s["at_s"] for s in samples], default=1.0) or 1.0
    high, wide = 170, 900
    body = "".join(_chart(title, series, report.events, end_s, n * high) for n, (title, series) in enumerate(charts))
    style = (
        "svg{--ink:#222;--faint:#ddd;--paper:#fff;--fault:#d13b3b}"
        "@media(prefers-color-scheme:dark){svg{--ink:#ddd;--faint:#444;--paper:#16181c;--fault:#ff7a7a}}"
        "text{fill:var(--ink);font:11px sans-serif}.t{font-weight:600}.paper{fill:var(--paper)}"
        ".grid{stroke:var(--faint)}.fault{fill:var(--fault);opacity:.22}polyline{fill:none;stroke-width:1.3}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high * len(charts) + 10}"><style>{style}</style>'
        f'<rect class="paper" width="{wide}" height="{high * len(charts) + 10}"/>{body}</svg>\n'
    )


def _chart(title: str, series: Series, events: list[Event], end_s: float, top: int) -> str:
    left, right, wide, head, foot, high = 70, 170, 900, 26, 24, 170
    most = max([value for points in series.values() for _, value in points], default=0.0) * 1.05 or 1.0

    def x(at_s: float) -> float:
        return left + (wide - left - right) * at_s / end_s

    def y(value: float) -> float:
        return top + high - foot - (high - foot - head) * value / most

    parts = [f'<text class="t" x="{left}" y="{top + 16}">{title}</text>']
    for event in events:
        until_s = event.recovered_s or event.ended_s
        width = max(1.5, x(until_s) - x(event.begun_s))
        parts.append(
            f'<rect class="fault" x="{x(event.begun_s):.1f}" y="{top + head}" width="{width:.1f}" '
            f'height="{high - head - foot}"><title>{html.escape(event.name)}</title></rect>'
        )
    for k in range(3):
        value = most * k / 2
        parts.append(f'<line class="grid" x1="{left}" x2="{wide - right}" y1="{y(value):.1f}" y2="{y(value):.1f}"/>')
        parts.append(f'<text x="{left - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value:,.0f}</text>')
    for k in range(7):
        at_s = end_s * k / 6
        parts.append(
            f'<text x="{x(at_s):.1f}" y="{top + high - 8}" text-anchor="middle">{at_s / 60:.1f}'
            f"{' min' if k == 6 else ''}</text>"
        )
    for n, (name, points) in enumerate(series.items()):
        colour = COLOURS[n % len(COLOURS)]
        line = " ".join(f"{x(at):.1f},{y(value):.1f}" for at, value in points)
        parts.append(f'<polyline stroke="{colour}" points="{line}"/>')
        if len(series) > 1:
            parts.append(
                f'<text x="{wide - right + 10}" y="{top + head + 10 + 14 * n}" style="fill:{colour}">{name}</text>'
            )
    return "".join(parts)
