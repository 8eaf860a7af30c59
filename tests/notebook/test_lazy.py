"""`import aishark_panel` costs nothing; its names load what they need when they are used."""

import subprocess
import sys

import pytest

import aishark_panel
from aishark_panel.errors import ConfigError


def test_importing_the_package_loads_nothing_heavy() -> None:
    program = (
        "import sys, aishark_panel as ais; before = set(sys.modules); heavy = {'numba', 'numpy', 'pandas', 'panel'};"
        "assert not heavy & before, heavy & before; ais.read; assert 'pandas' in sys.modules;"
        "assert 'panel' not in sys.modules"
    )
    result = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr


def test_all_public_names_are_there() -> None:
    assert all(getattr(aishark_panel, name) for name in aishark_panel.__all__)
    assert set(aishark_panel.__all__) <= set(dir(aishark_panel))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = aishark_panel.nothing


def test_a_missing_package_is_named_with_the_way_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "aishark_panel.notebook.table", raising=False)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ConfigError, match=r"pandas, which is not installed: pip install 'aishark-panel\[notebook\]'"):
        _ = aishark_panel.read
