"""The page: `panel serve aishark_panel/views/app.py` runs this once for each browser tab."""

from aishark_panel.views.page import open_page

__all__: list[str] = []

open_page()
