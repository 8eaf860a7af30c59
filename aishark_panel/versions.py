"""What `aishark --version` says: the versions that matter for a bug report."""

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from aishark_panel import __version__
from aishark_panel.wire.messages import PROTOCOL_VERSION

__all__ = ["versions_text"]

_PACKAGES: Final = (
    "numpy",
    "numba",
    "pyarrow",
    "tornado",
    "msgspec",
    "cypcap",
    "panel",
    "bokeh",
    "pandas",
    "duckdb",
    "jupyterlab",
)


def versions_text() -> str:
    """A line about ourselves, one about the system, one about packages; those that miss were not asked for."""
    found = []
    for package in _PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            found.append(f"{package} -")
    python = f"{platform.python_implementation()} {platform.python_version()}"
    system = f"{platform.system()} {platform.release()} {platform.machine()}"
    return f"aishark {__version__}, protocol {PROTOCOL_VERSION}\n{python}, {system}\n{', '.join(found)}"
