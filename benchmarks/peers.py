"""Others who read capture files, and the CPU time that they and we take; for the benchmarks of files.

A reader is a function of a path. CPU seconds are those of all threads of this process and of the programs it ran, user
and system; the machine's other work does not count. Programs include their start, what runs in here does not.
"""

import itertools
import resource
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from aishark_panel.wire.schema import COLUMNS

__all__ = ["TSHARK_FIELDS", "Reader", "best_seconds", "bytes_alone", "dpkt", "program", "scapy", "tshark"]

Reader = Callable[[Path], object]
CHUNK_BYTES = 512 * 2**10
TSHARK_FIELDS = tuple(
    f"-e{name}" for column in COLUMNS for name in column.wireshark if not name.startswith("_ws.malformed")
)
"""Options that ask tshark for the fields that our columns answer to."""


def cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def best_seconds(readers: Mapping[str, Reader], path: Path, rounds: int) -> dict[str, float]:
    """CPU seconds of each reader's best round; the readers take turns. Those that are not installed are left out."""
    times: dict[str, list[float]] = {}
    for _ in range(rounds):
        for name, read in readers.items():
            began = cpu_seconds()
            try:
                read(path)
            except (ImportError, FileNotFoundError):
                continue
            times.setdefault(name, []).append(cpu_seconds() - began)
    return {name: max(min(seconds), 1e-4) for name, seconds in times.items()}


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

    return run


def tshark() -> Reader:
    """tshark with the fields that our columns answer to; it analyses TCP and application protocols, as we do."""
    return program("tshark", "-n", "-Q", "-r", "FILE", "-T", "fields", *TSHARK_FIELDS)


def dpkt(path: Path) -> None:
    import dpkt

    with path.open("rb") as file:
        for _, frame in dpkt.pcap.Reader(file):
            dpkt.ethernet.Ethernet(frame)


def scapy(path: Path) -> None:
    import scapy.layers.all  # noqa: F401  (link types are known by what was imported)
    from scapy.utils import PcapReader

    with PcapReader(str(path)) as reader:
        for _ in itertools.takewhile(bool, reader):
            pass
