"""Memory that a process of ours gives back, seen by the kernel's own figures."""

import subprocess
import sys

from tests.codebase.sources import ROOT

PROGRAM = """
import re
import llvmlite.binding as llvm
from aishark_panel.memory import let_go_of_code

def resident_kb():
    return int(re.search(r"^Rss: +([0-9]+)", open("/proc/self/smaps_rollup").read(), re.M)[1])

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


def test_code_that_was_let_go_of_is_not_resident_and_runs_again() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 15_000
