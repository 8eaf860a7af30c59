"""The project's Markdown as the tests of this folder see it: pages, the links in them, and their blocks of code."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

from tests.codebase.sources import ROOT

__all__ = ["NOTEBOOKS", "PAGES", "Block", "anchors", "blocks", "links", "place"]

PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
RUN = "<!-- run -->"
"""stands before a block that is run"""


@dataclass(frozen=True)
class Block:
    """A fenced block."""

    page: Path
    line: int
    language: str
    text: str
    is_run: bool

    def __str__(self) -> str:
        return f"{place(self.page)}:{self.line}"


def place(path: Path) -> str:
    """Where a file is in the project."""
    return str(path.relative_to(ROOT))


@cache
def tokens(page: Path) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse(markdown(page))


def markdown(page: Path) -> str:
    """The text of a page, or of a notebook's cells of text."""
    text = page.read_text("utf-8")
    if page.suffix == ".md":
        return text
    return "\n\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "markdown")


def blocks(*languages: str) -> list[Block]:
    """The blocks of all pages in these languages; "" has none."""
    return [block for page in PAGES for block in _blocks(page) if block.language in languages]


def _blocks(page: Path) -> Iterator[Block]:
    before = ""
    for token in tokens(page):
        if token.type == "fence":
            assert token.map
            yield Block(page, token.map[0] + 1, token.info.strip(), token.content, before == RUN)
        before = token.content.strip()


def links(page: Path) -> list[str]:
    """Where the links and images of a page lead."""
    inside = [child for token in tokens(page) for child in token.children or []]
    leading = [child.attrs for child in inside if child.type in ("link_open", "image")]
    found = [attributes.get("href") or attributes.get("src") for attributes in leading]
    return [str(address) for address in found if address]


@cache
def anchors(page: Path) -> frozenset[str]:
    """The anchors that GitHub and the site give the headings of a page."""
    found: dict[str, int] = {}
    for token, inline in pairwise(tokens(page)):
        if token.type == "heading_open":
            text = "".join(child.content for child in inline.children or [])
            slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
            found[slug] = found.get(slug, -1) + 1
    return frozenset(f"{slug}-{n}" if n else slug for slug, most in found.items() for n in range(most + 1))
