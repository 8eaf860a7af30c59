"""The site is made without a warning, and no page or style of it names a file on another host."""

import re
import subprocess
import sys
from pathlib import Path

from tests.codebase.sources import ROOT

BUILD = ["--quiet", "--fail-on-warning", "--keep-going", "--conf-dir", "docs"]
LOADED = re.compile(
    r"""<(?:script|img|iframe|source|link(?![^>]*rel="canonical"))\b[^>]*(?:src|href)="((?:https?:)?//[^"]*)"""
    r"""|url\(["']?((?:https?:)?//[^)]*)|@import\s+["']((?:https?:)?//[^"']*)"""
)
"""what a browser would load from elsewhere; links that people click are none of it"""


def test_the_site_is_made_without_a_warning_and_needs_no_other_host(tmp_path: Path) -> None:
    site = tmp_path / "site"
    command = [sys.executable, "-m", "sphinx", *BUILD, "--doctree-dir", str(tmp_path / "trees"), ".", str(site)]
    made = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert made.returncode == 0, made.stderr
    files = [path for path in site.rglob("*") if path.suffix in (".html", ".css")]
    assert {site / "index.html", site / "docs" / "index.html", site / "docs" / "rest.html"} <= set(files)
    loaded = {str(path.relative_to(site)): LOADED.findall(path.read_text("utf-8")) for path in files}
    assert {name: found for name, found in loaded.items() if found} == {}


def test_what_is_loaded_from_elsewhere_is_seen() -> None:
    for text in (
        '<script async src="https://cdn.example/x.js">',
        "a{b:url(//fonts.example/a)}",
        '@import "http://x/y"',
    ):
        assert LOADED.search(text)
    assert not LOADED.search('<a href="https://example.org"><img src="images/a.png">')
