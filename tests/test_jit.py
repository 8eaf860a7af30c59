"""Compiling and caching kernels."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numba.core.errors import NumbaError

from aishark_panel.jit import lean_kernel

ROOT = Path(__file__).resolve().parents[1]

KERNEL = """
import sys
sys.path.insert(0, {root!r})
from aishark_panel.jit import kernel_part, lean_kernel
from constant import answer

@lean_kernel
def ask():
    return answer()

value = ask()
print(value, sum(ask.stats.cache_hits.values()))
"""
PART = """
from aishark_panel.jit import kernel_part

@kernel_part
def answer():
    return {value}
"""


def test_a_cached_kernel_is_used_until_a_file_beside_it_changes(tmp_path: Path) -> None:
    (tmp_path / "kernel.py").write_text(KERNEL.format(root=str(ROOT)))

    def run(value: int) -> list[str]:
        (tmp_path / "constant.py").write_text(PART.format(value=value))
        command = [sys.executable, "-B", "kernel.py"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
        return done.stdout.split()

    assert run(41) == ["41", "0"]
    assert run(41) == ["41", "1"]
    assert run(42) == ["42", "0"]


def test_a_lean_kernel_that_would_allocate_does_not_compile() -> None:
    def allocate() -> int:
        return len(np.zeros(3))

    with pytest.raises(NumbaError, match="No implementation"):
        lean_kernel(allocate)()
