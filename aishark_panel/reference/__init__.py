"""The pages of docs/ that are made from the code: `python -m aishark_panel.reference docs` writes them all.

Each module renders one page, and so do wire.schema_docs and streams.rest_docs; a test compares each with the code.
"""

from collections.abc import Callable, Mapping
from typing import Final

from aishark_panel.reference import cli, config, metrics, names, python
from aishark_panel.streams import rest_docs
from aishark_panel.wire import schema_docs

__all__ = ["PAGES"]

PAGES: Final[Mapping[str, Callable[[], str]]] = {
    "reference/cli.md": cli.render,
    "reference/config.md": config.render,
    "reference/metrics.md": metrics.render,
    "reference/names.md": names.render,
    "reference/python.md": python.render,
    "rest.md": rest_docs.render,
    "schema.md": schema_docs.render,
}
"""What makes each page, by its place in docs/."""
