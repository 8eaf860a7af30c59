"""Others who read capture files, and the CPU time that they and we take; for the benchmarks of files.

A reader is a function of a path that returns the CPU seconds it took: of all threads of this process and of the
programs it ran, user and system; the machine's other work does not count. Programs include their start; what runs in
here, and libraries of Python, which have a process of their own, do not.

Those libraries live in a virtual environment of their own (.venv/peers), which is made when it is first asked for: they
are no part of what the project needs.

    python benchmarks/peers.py      # make it, and say which versions are in it
"""

import contextlib
import resource
import subprocess
import venv
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import numpy as np

from aishark_panel.wire.schema import COLUMNS

__all__ = [
    "LIBRARIES",
    "TSHARK_FIELDS",
    "Reader",
    "bytes_alone",
    "here",
    "library",
    "peers_python",
    "program",
    "rounds_of",
    "tshark",
]

Reader = Callable[[Path], float]
CHUNK_BYTES = 512 * 2**10
HOME = Path(__file__).resolve().parents[1] / ".venv" / "peers"
TSHARK_FIELDS = tuple(
    f"-e{name}" for column in COLUMNS for name in column.wireshark if not name.startswith("_ws.malformed")
)
"""Options that ask tshark for the fields that our columns answer to."""
LIBRARIES = {
    "dpkt": """
import dpkt
begin()
with open(path, "rb") as file:
    for _, frame in dpkt.pcap.Reader(file):
        dpkt.ethernet.Ethernet(frame)
""",
    "scapy": """
import itertools, scapy.layers.all
from scapy.utils import PcapReader
begin()
with PcapReader(path) as reader:
    for _ in itertools.takewhile(bool, reader):
        pass
""",
    "pyshark": """
import pyshark
begin()
with pyshark.FileCapture(path, keep_packets=False) as capture:
    for _ in capture:
        pass
""",
}
"""Of Python, and how each reads all packets of the file `path`; its clock starts at `begin()`."""
CLOCK = """
import resource, sys
path = sys.argv[1]
def used():
    each = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in each)
def begin():
    global began
    began = used()
"""


@cache
def peers_python() -> Path | None:
    """The interpreter that has LIBRARIES; None where they cannot be installed."""
    python = HOME / "bin" / "python"
    stamp = HOME / "installed"
    if not stamp.exists():
        try:
            venv.create(HOME, with_pip=True, clear=True)
            words = ["-m", "pip", "install", "-qq", "--disable-pip-version-check", *LIBRARIES]
            subprocess.run([python, *words], check=True, timeout=300)
        except (OSError, subprocess.SubprocessError):
            return None
        stamp.touch()
    return python


def library(name: str) -> Reader:
    """One of LIBRARIES as a reader, which raises ModuleNotFoundError where they cannot be installed."""

    def run(path: Path) -> float:
        python = peers_python()
        if python is None:
            raise ModuleNotFoundError(f"{name} cannot be installed")
        source = f"{CLOCK}{LIBRARIES[name]}print(used() - began)"
        return float(subprocess.run([python, "-c", source, path], check=True, capture_output=True, text=True).stdout)

    return run


def here(work: Callable[[Path], object]) -> Reader:
    """A function as a reader."""

    def run(path: Path) -> float:
        began = used_s()
        work(path)
        return max(used_s() - began, 1e-4)

    return run


def used_s() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def rounds_of(readers: Mapping[str, Reader], path: Path, rounds: int) -> dict[str, list[float]]:
    """CPU seconds of each reader's rounds; the readers take turns. Those that do not run here are left out."""
    times: dict[str, list[float]] = {}
    for _ in range(rounds):
        for name, read in readers.items():
            with contextlib.suppress(ImportError, OSError, subprocess.CalledProcessError):
                seconds = read(path)
                times.setdefault(name, []).append(seconds)
    return times


def bytes_alone(path: Path) -> None:
    """The file in pieces into one buffer, every byte of it looked at."""
    buffer = np.empty(CHUNK_BYTES // 8, np.uint64)
    view = memoryview(buffer).cast("B")
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(view):
            buffer[: count // 8].sum()


def program(*command: str) -> Reader:
    """A program as a reader; FILE in its arguments stands for the path."""

    def run(path: Path) -> None:
        words = [word.replace("FILE", str(path)) for word in command]
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    return here(run)


def tshark() -> Reader:
    """tshark with the fields that our columns answer to; it analyses TCP and application protocols, as we do."""
    return program("tshark", "-n", "-Q", "-r", "FILE", "-T", "fields", *TSHARK_FIELDS)


def main() -> None:
    python = peers_python()
    if python is None:
        raise SystemExit(f"{', '.join(LIBRARIES)} could not be installed into {HOME}")
    subprocess.run([python, "-m", "pip", "list", "--disable-pip-version-check"], check=True)


if __name__ == "__main__":
    main()
