"""Every link between our own pages and files leads somewhere; those to others are listed, not fetched."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.docs.pages import NOTEBOOKS, PAGES, anchors, links, place

HOSTS = {
    "distributed.dask.org",
    "docs.kubeshark.co",
    "github.com",
    "keepachangelog.com",
    "semver.org",
    "www.ntop.org",
    "www.tcpdump.org",
    "www.wireshark.org",
}
"""Other hosts that pages name. Who adds one looks whether the address is there."""

each_page = pytest.mark.parametrize("page", [*PAGES, *NOTEBOOKS], ids=place)


@each_page
def test_links_to_our_files_and_headings_lead_somewhere(page: Path) -> None:
    dead = []
    for link in links(page):
        if urlsplit(link).scheme:
            continue
        name, _, anchor = unquote(link).partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            dead.append(link)
    assert dead == []


@each_page
def test_links_to_others_are_to_known_hosts(page: Path) -> None:
    others = [urlsplit(link) for link in links(page) if urlsplit(link).scheme]
    assert [link.geturl() for link in others if link.scheme != "https" or link.hostname not in HOSTS] == []


def test_there_are_links_and_headings_of_both_kinds() -> None:
    everything = [link for page in PAGES for link in links(page)]
    assert sum(".md#" in link for link in everything) > 10
    assert any(link.startswith("https:") for link in everything)
