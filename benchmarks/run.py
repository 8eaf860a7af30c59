"""Runs the benchmarks one after the other and writes their tables into docs/performance.md, between the marks there.

    make bench                              # all of them, half an hour on two cores
    make bench ARGS="dissect export"        # some; the others' tables stay as they are
    make bench ARGS=--quick                 # small sizes, printed: does everything run? Its figures mean nothing

Each is a script beside this one, in a process of its own, which can be run alone, too. One that fails does not end the
others: its place on the page says why. The machine had better do nothing else: the load before each is written down.
"""

import argparse
import contextlib
import datetime
import os
import platform
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import msgspec
from plots import bars
from results import Result, Table, number

__all__ = ["SECTIONS", "Outcome", "Picture", "Section", "main", "measured", "pictures", "replaced", "section_text"]

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
PAGE = ROOT / "docs" / "performance.md"
LIVE_PAGE = "One page on live traffic"
SHOWN_P50, SHOWN_P95 = "on the screen after, median, ms", "95th percentile, ms"


class Section(NamedTuple):
    """A benchmark's place on the page, by its name."""

    script: str
    options: str
    quick: str
    expected_s: int
    """on two cores"""


SECTIONS = {
    "dissect": Section("dissect", "--rounds 3", "--packets 20000 --rounds 1 --sample 2000", 140),
    "capture": Section(
        "capture",
        "--seconds 1 --rates 3000 10000 100000 1000000",
        "--sizes 64 --seconds 0.3 --rounds 1 --rates 1000 100000 --only ours tcpdump",
        520,
    ),
    "wire": Section("wire", "", "--packets 20000 --rounds 1", 40),
    "pipeline": Section(
        "pipeline", "--record pcapng --rounds 3", "--packets 50000 --rounds 1 --rules 0 --record --no-journal", 290
    ),
    "hub": Section("hub", "--seconds 60", "--seconds 4 --agents 6 --sessions 2 --subscribers 4", 80),
    "full_speed": Section("hub", "--full-speed --seconds 45", "--full-speed --seconds 3", 55),
    "dashboard": Section("dashboard", "--seconds 30", "--rates 1000 --seconds 3", 180),
    "alerts": Section("alerts", "--packets 300000", "--packets 50000 --rules 1 20 --rounds 1", 35),
    "export": Section("export", "--packets 2000000", "--packets 50000 --rounds 1", 180),
    "archive": Section("archive", "--packets 5000000 --hours 2", "--packets 100000 --rounds 1 --workers 1", 110),
    "notebook": Section("notebook", "--seconds 20", "--seconds 3", 35),
    "pages": Section("pages", "--pages 50", "--pages 2 --rate 5000", 120),
}


class Picture(NamedTuple):
    """Where people would rather look than read."""

    file: str
    title: str
    svg: str


class Outcome(NamedTuple):
    """What became of a section's script."""

    options: str
    """it was called with"""
    began: datetime.datetime
    seconds: float
    load: float
    """of the machine before it"""
    result: Result | None
    problem: str = ""
    """why there is no result"""


def measured(name: str, options: str, limit_s: float, heading: str) -> Outcome:
    """Run a script, and show how far it is."""
    began, load, start_s = datetime.datetime.now(datetime.UTC), os.getloadavg()[0], time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        found, log = Path(folder) / "result.json", Path(folder) / "log"
        words = [sys.executable, str(HERE / f"{name}.py"), *shlex.split(options), "--json", str(found)]
        with log.open("wb") as said:
            process = subprocess.Popen(words, stdout=said, stderr=said, cwd=ROOT, start_new_session=True)
        problem = ""
        try:
            while process.poll() is None:
                show(f"{heading}  {minutes(time.monotonic() - start_s)}  {last_line(log)}")
                if time.monotonic() - start_s > limit_s:
                    problem = f"it was ended after {minutes(limit_s)}"
                    break
                time.sleep(0.5)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # and what a script that failed has left behind
            process.wait()
        result = None
        if not problem and found.exists():
            result = msgspec.json.decode(found.read_bytes(), type=Result)
        elif not problem:
            problem = f"it ended with {process.returncode}: {last_line(log).replace(f'{ROOT}/', '')}"
    return Outcome(options, began, time.monotonic() - start_s, load, result, problem)


def last_line(log: Path) -> str:
    lines = log.read_text("utf-8", "replace").strip().splitlines()
    return lines[-1].strip() if lines else ""


def minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


def show(text: str, *, stays: bool = False) -> None:
    """A line on the terminal, which the next one replaces unless it stays."""
    if sys.stderr.isatty():
        columns = shutil.get_terminal_size().columns
        print(f"\r\033[K{text[: columns - 1]}", end="\n" if stays else "", file=sys.stderr, flush=True)
    elif stays:
        print(text, file=sys.stderr, flush=True)


def section_text(script: str, outcome: Outcome) -> str:
    """What stands between a section's marks."""
    command = f"python benchmarks/{script}.py {outcome.options}".strip()
    head = f"`{command}`, {outcome.began:%Y-%m-%d}, {outcome.seconds:.0f} s, load before it {outcome.load:.1f}"
    if outcome.result is None:
        return f"{head}: **no figures**, {outcome.problem}."
    shown = [f"![{picture.title}](images/{picture.file})" for picture in pictures(outcome.result)]
    notes = "\n".join(f"- {note}" for note in outcome.result.notes)
    return "\n\n".join(filter(None, [f"{head}.", *shown, *(t.markdown() for t in outcome.result.tables), notes]))


def replaced(page: str, name: str, text: str) -> str:
    """The page with that text between the marks of that name. Raises ValueError where it has none."""
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if len(pattern.findall(page)) != 1:
        raise ValueError(f"The page has to have {begin} and {end} once each.")
    return pattern.sub(lambda _: f"{begin}\n\n{text}\n\n{end}", page)


def machine() -> str:
    """What was measured on, and with which versions, as a list."""
    from peers import LIBRARIES, peers_python

    processor = first(r"model name\s*:\s*(.+)", "/proc/cpuinfo") or platform.machine()
    memory_kib = int(first(r"MemTotal:\s*(\d+)", "/proc/meminfo") or 0)
    ours = ("aishark-panel", "numpy", "numba", "pyarrow", "pandas", "bokeh", "duckdb", "dask", "cypcap", "msgspec")
    python = peers_python()
    source = f"from importlib.metadata import version\nfor n in {list(LIBRARIES)}: print(n, version(n))"
    peers = said(str(python), "-c", source).splitlines() if python else []
    commands = (("tshark", "--version"), ("tcpdump", "--version"), ("editcap", "--version"), ("chromium", "--version"))
    programs = [
        re.sub(r" \(.*", "", said(*command).partition("\n")[0].replace(" (Wireshark)", "")) for command in commands
    ]
    return "\n".join(
        f"- {line}"
        for line in (
            f"{processor}, {os.cpu_count()} cores, {memory_kib / 2**20:.0f} GiB",
            f"{platform.system()} {platform.release()}, {platform.python_implementation()} {platform.python_version()}",
            "Packages: " + ", ".join(f"{name} {metadata.version(name)}" for name in ours if installed(name)),
            "Others: " + "; ".join(filter(None, [*programs, *peers])),
        )
    )


def first(pattern: str, path: str) -> str:
    with contextlib.suppress(OSError):
        if match := re.search(pattern, Path(path).read_text("utf-8")):
            return match[1]
    return ""


def said(*command: str) -> str:
    """What a program prints; nothing where it is missing."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        return subprocess.run(command, capture_output=True, text=True, timeout=30).stdout
    return ""


def installed(name: str) -> bool:
    with contextlib.suppress(metadata.PackageNotFoundError):
        return bool(metadata.version(name))
    return False


def pictures(result: Result) -> list[Picture]:
    """Those of a benchmark."""
    if result.benchmark == "dissect":
        title = "A file of mixed packets on one core, packets/s by powers of ten"
        rows = bar_rows(result.tables, "Files: mixed", "{row}", {"": "million packets/s"}, " million")
        return [Picture("throughput.svg", title, bars(title, rows, ours="columns", log=True))] if rows else []
    if result.benchmark == "dashboard":
        title = "From a packet's own time to the screen, ms"
        heads = {"half": SHOWN_P50, "95 %": SHOWN_P95}
        rows = bar_rows(result.tables, LIVE_PAGE, "{head} at {row} packets/s", heads, " ms")
        return [Picture("latency.svg", title, bars(title, rows, ours="half"))] if rows else []
    return []


def bar_rows(
    tables: list[Table], title: str, name: str, heads: dict[str, str], unit: str
) -> list[tuple[str, float, str]]:
    """Bars of a table's columns; `heads`: their names by how they are called. None where it has no such table."""
    found = []
    for table in (table for table in tables if table.title == title):
        for called, head in heads.items():
            medians = {row: table.median(row, head) for row in table.rows}
            found += [
                (name.format(row=r, head=called), v, f"{number(float(v))}{unit}") for r, v in medians.items() if v
            ]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(SECTIONS)}; default: all")
    parser.add_argument("--quick", action="store_true", help="small sizes; prints, and writes no page")
    parser.add_argument("--page", type=Path, default=PAGE, help="with the marks; default: docs/performance.md")
    parser.add_argument("--captures", help="a folder of real capture files, for `wire`")
    options = parser.parse_args()
    if unknown := set(options.names) - set(SECTIONS):
        parser.error(f"there is no {min(unknown)}; there are {', '.join(SECTIONS)}")
    names = options.names or list(SECTIONS)

    def write(name: str, text: str) -> None:
        options.page.write_text(replaced(options.page.read_text("utf-8"), name, text), "utf-8")

    if not options.quick:
        write("machine", machine())
    failed = []
    for place, name in enumerate(names):
        section = SECTIONS[name]
        words = section.quick if options.quick else section.options
        words = f"{words} {shlex.quote(options.captures)}".strip() if name == "wire" and options.captures else words
        expected = "" if options.quick else f", about {minutes(section.expected_s)}"
        heading = f"[{place + 1}/{len(names)}] {name}{expected}"
        outcome = measured(section.script, words, 4 * section.expected_s, heading)
        failed += [name] * (outcome.result is None)
        ending = f"failed: {outcome.problem}" if outcome.result is None else "done"
        show(f"{heading}  {minutes(outcome.seconds)}  {ending}", stays=True)
        if name == "wire" and options.captures:
            outcome = outcome._replace(options="FOLDER")
        if options.quick:
            print(f"{section_text(section.script, outcome)}\n", flush=True)
            continue
        for picture in pictures(outcome.result) if outcome.result else ():
            (options.page.parent / "images" / picture.file).write_text(picture.svg, "utf-8")
        write(name, section_text(section.script, outcome))
    if failed:
        raise SystemExit(f"without figures: {', '.join(failed)}")


if __name__ == "__main__":
    main()
