"""A real JupyterLab, and a notebook of it in a real browser."""

import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from playwright.sync_api import Browser, Locator, Page, expect

from tests.integration.conftest import wait_for

__all__ = ["cell", "jupyterlab", "open_notebook", "run"]

ROOT = Path(__file__).parents[2]


@contextlib.contextmanager
def jupyterlab(folder: Path, cells: Sequence[str], **environment: str) -> Iterator[str]:
    """Address of a notebook of these cells in a JupyterLab that has nothing of this user's own settings."""
    (folder / "work").mkdir()
    notebook = {
        "cells": [
            {
                "cell_type": "code",
                "id": f"cell-{k}",
                "metadata": {},
                "source": source,
                "outputs": [],
                "execution_count": None,
            }
            for k, source in enumerate(cells)
        ],
        "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    (folder / "work" / "live.ipynb").write_text(json.dumps(notebook))
    own = {f"JUPYTER_{name}_DIR": str(folder / name) for name in ("CONFIG", "DATA", "RUNTIME")}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ServerApp.port=0"]
            + [f"--ServerApp.root_dir={folder / 'work'}", "--LabApp.news_url=", "--LabApp.extension_manager=readonly"]
            + ["--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"],
            env={
                **os.environ,
                **own,
                **environment,
                "IPYTHONDIR": str(folder / "ipython"),
                "JUPYTER_TOKEN": "lab",
                "PYTHONPATH": str(ROOT),
            },
            stderr=log,
        )
    try:
        wait_for(lambda: bool(_addresses(folder)), "the start of JupyterLab")
        yield f"{_addresses(folder)[0]}/lab/tree/live.ipynb?token=lab"
    finally:
        process.terminate()
        try:
            process.wait(30)
        finally:
            process.kill()
            process.wait()


def _addresses(folder: Path) -> list[str]:
    return re.findall(r"http://127\.0\.0\.1:\d+", (folder / "log").read_text())


def open_notebook(browser: Browser, address: str, complaints: list[str]) -> Page:
    """The notebook once its kernel is idle; `complaints` gets what it asks of other hosts, and its errors."""
    page = browser.new_page(viewport={"width": 1500, "height": 2600})  # all cells in sight
    origin = address.split("/lab")[0]
    local = (origin, origin.replace("http", "ws"), "data:", "blob:")
    page.on("request", lambda r: complaints.append(r.url) if not r.url.startswith(local) else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(address)
    page.locator(".jp-Notebook .jp-CodeCell").first.wait_for(timeout=60_000)
    expect(page.locator("#jp-main-statusbar")).to_contain_text("| Idle", timeout=60_000)
    return page


def cell(page: Page, index: int) -> Locator:
    """One code cell with its output."""
    return page.locator(".jp-Notebook .jp-CodeCell").nth(index)


def run(page: Page, index: int) -> str:
    """Run one cell to its end; the text it printed."""
    prompt = cell(page, index).locator(".jp-InputArea-prompt")
    before = prompt.inner_text()

    def ran() -> bool:
        if prompt.inner_text() == before:  # JupyterLab forgets a request made while the kernel is not quite there
            cell(page, index).locator(".cm-content").click()
            page.keyboard.press("Control+Enter")
        page.wait_for_timeout(200)
        return prompt.inner_text() != before and re.fullmatch(r"\[\d+\]:", prompt.inner_text()) is not None

    wait_for(ran, f"the run of cell {index}")
    printed = cell(page, index).locator(".jp-OutputArea-output pre").last
    if "print(" in cell(page, index).locator(".cm-content").inner_text():
        printed.wait_for()  # the reply may overtake it
        return printed.inner_text().strip()
    return ""
