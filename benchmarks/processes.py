"""What a process costs, as Linux counts it."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

__all__ = ["Cost", "cost_of", "cpu_s", "rss_mib"]

LAUNCHER = """
import json, resource, subprocess, sys, time
began = time.perf_counter()
with open(sys.argv[1], "wb") as out:
    subprocess.run(sys.argv[2:], check=True, stdout=out)
wall_s = time.perf_counter() - began
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([wall_s, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024]))
"""
"""Linux counts what a process held before its exec into its peak, which is its parent's memory when it comes from
there; so somebody small has to start it."""


class Cost(NamedTuple):
    """Of a process from its start to its end."""

    wall_s: float
    cpu_s: float
    """user and system, of all threads"""
    peak_mib: float
    """most resident memory it had"""


def cost_of(command: Sequence[str], out: Path) -> Cost:
    """Run a command to its end, its standard output going to a file. Raises CalledProcessError where it fails."""
    launched = subprocess.run(
        [sys.executable, "-I", "-S", "-c", LAUNCHER, str(out), *command], check=True, stdout=subprocess.PIPE, text=True
    )
    return Cost(*json.loads(launched.stdout))


def cpu_s(pid: int) -> float:
    """User and system seconds of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_mib(pid: int) -> float:
    """Resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
