"""Memory that a process of ours gives back, seen by the kernel's own figures."""

import subprocess
import sys

import numpy as np
import pytest

from aishark_panel.memory import sparse_zeros
from tests.codebase.sources import ROOT

RESIDENT = """
import re

def resident_kb():
    return int(re.search(r"^Rss: +([0-9]+)", open("/proc/self/smaps_rollup").read(), re.M)[1])
"""
PROGRAM = """
import llvmlite.binding as llvm
from aishark_panel.memory import let_go_of_code

def machine_code():
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    module = llvm.parse_assembly("define i32 @f() { ret i32 7 }")
    return llvm.Target.from_default_triple().create_target_machine().emit_assembly(module)

first = machine_code()
before = resident_kb()
let_go_of_code()
after = resident_kb()
assert machine_code() == first
print(before - after)
"""


def run(program: str) -> int:
    """The number that a program prints, which may ask for `resident_kb()`."""
    command = [sys.executable, "-c", RESIDENT + program]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_code_that_was_let_go_of_is_not_resident_and_runs_again() -> None:
    assert run(PROGRAM) > 15_000


SESSIONS = """
from aishark_panel.alerts.load import BUILTIN, read_rules
from aishark_panel.memory import reuse_freed_memory
from aishark_panel.streams.session import Session

def sessions():
    return [Session(str(k), "idle", ring_bytes=64 << 20, rules=rules) for k in range(4)]

reuse_freed_memory()
rules = tuple(read_rules(BUILTIN))
used = [bytearray(b"used") * (2 << 20) for _ in range(8)]  # the heap has much to reuse then, none of it zeros
del used
before = resident_kb()
kept = sessions()
print((resident_kb() - before) // len(kept))
"""


def test_a_session_without_packets_takes_little_memory() -> None:
    assert run(SESSIONS) < 10_000


@pytest.mark.parametrize("shape", [0, 3, (4, 0), 1 << 20, (32, 10_000, 3)])
@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float64])
def test_sparse_zeros_are_those_of_numpy(shape: int | tuple[int, ...], dtype: type[np.generic]) -> None:
    ours, theirs = sparse_zeros(shape, dtype), np.zeros(shape, dtype)
    assert (ours.shape, ours.dtype, ours.strides) == (theirs.shape, theirs.dtype, theirs.strides)
    assert not ours.any()
    ours[...] = np.ones((), dtype)
    assert ours.all()
