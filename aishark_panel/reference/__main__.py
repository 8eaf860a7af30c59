"""`python -m aishark_panel.reference docs`: write the pages into that folder."""

import sys
from pathlib import Path

from aishark_panel.reference import PAGES

folder = Path(sys.argv[1])
for name, render in PAGES.items():
    (folder / name).write_text(render(), "utf-8")
