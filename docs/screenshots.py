"""Make the pictures of docs/images anew: every tab of `aishark demo`, light and dark, on a wide screen and a phone.

python docs/screenshots.py [--folder docs/images] [--only packets conversations ...]
"""

import argparse
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

SIZES = {"wide": (1440, 900), "phone": (400, 800)}
SETTLE_MS = 12_000
"""Until the charts of a young capture have something to show."""


def save(page: Page, path: Path) -> None:
    """A PNG of 256 colours: a third of the size, and no difference to the eye."""
    image = Image.open(io.BytesIO(page.screenshot()))
    image.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
    print(path, f"{path.stat().st_size / 1000:.0f} kB")


def tabs_of(page: Page) -> list[str]:
    """Names of the tabs, as they stand."""
    return [str(tab.get_attribute("aria-label")) for tab in page.get_by_role("tab").all()]


def look(browser: Browser, address: str, folder: Path, only: list[str]) -> None:
    """Open the page in each size and theme and save each tab."""
    for size, (width, height) in SIZES.items():
        for scheme in ("light", "dark"):
            page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)  # type: ignore[arg-type]
            page.goto(address)
            page.locator(".packet-list .layer .row .number").first.wait_for(timeout=60_000)
            page.wait_for_timeout(SETTLE_MS)
            for name in tabs_of(page):
                if only and name.lower() not in only:
                    continue
                page.get_by_role("tab", name=name, exact=True).click()
                if name == "Packets":
                    page.locator(".packet-list .layer .row").nth(8).click()
                page.wait_for_timeout(2_500)
                if size == "phone" and name != "Packets":
                    page.get_by_role("tab", name=name, exact=True).scroll_into_view_if_needed()
                save(page, folder / f"{name.lower()}-{size}-{scheme}.png")
            page.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent / "images")
    parser.add_argument("--only", nargs="*", default=[], help="tabs, by name")
    options = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        raise SystemExit("Chromium is not installed (Debian: apt install chromium)")
    options.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as data:
        demo = subprocess.Popen(
            [sys.executable, "-m", "aishark_panel", "demo", "--no-browser", "--port", "0"],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "XDG_DATA_HOME": data},
        )
        assert demo.stdout is not None
        try:
            address = next(filter(None, (re.search(r"http://\S+", line) for line in demo.stdout)))[0]
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
                look(browser, address, options.folder, [name.lower() for name in options.only])
                browser.close()
        finally:
            demo.terminate()
            demo.wait(20)


if __name__ == "__main__":
    main()
