"""aishark_panel: see, live and from anywhere, what the network of remote hosts is doing.

In a notebook or script: `import aishark_panel as ais`, then `ais.read`, `ais.capture`, `ais.connect`,
`ais.open_archive`. The names are loaded when they are first used, so that importing the package, as agents do, costs
nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aishark_panel.notebook.archive import open_archive
    from aishark_panel.notebook.capture import capture
    from aishark_panel.notebook.session import connect
    from aishark_panel.notebook.stream import PacketStream
    from aishark_panel.notebook.table import read

__version__ = "0.1.0"

__all__ = ["PacketStream", "__version__", "capture", "connect", "open_archive", "read"]

_HOMES = {
    "PacketStream": "aishark_panel.notebook.stream",
    "capture": "aishark_panel.notebook.capture",
    "connect": "aishark_panel.notebook.session",
    "open_archive": "aishark_panel.notebook.archive",
    "read": "aishark_panel.notebook.table",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = importlib.import_module(_HOMES[name])
    except ModuleNotFoundError as error:
        from aishark_panel.errors import ConfigError

        raise ConfigError(
            f"aishark_panel.{name} needs {error.name}, which is not installed: pip install 'aishark-panel[notebook]'"
        ) from error
    return getattr(module, name)


def load_ipython_extension(shell: Any) -> None:
    """`%load_ext aishark_panel`: the cell magic %%capture_packets."""
    shell.register_magics(importlib.import_module("aishark_panel.notebook.magic").PacketMagics)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
