"""The whole product on live traffic: two hosts, an agent on one's interface, the page in a browser, the export in
tshark. test_live.py runs this in a user and network namespace of its own."""

import contextlib
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import browser, complaints, opener
from tests.integration.conftest import wait_for
from tests.integration.hosts import cable, host, ip

__all__ = ["browser", "complaints"]

NEAR, FAR = "10.77.0.1", "10.77.0.2"


@pytest.fixture(scope="module", autouse=True)
def network() -> Iterator[None]:
    """This host, near0 with 10.77.0.1, and another behind a cable, 10.77.0.2, that serves DNS and HTTP."""
    with host(FAR) as other:
        ip("link", "set", "lo", "up")
        cable(other, "near0")
        ip("address", "add", f"{NEAR}/24", "dev", "near0")
        wait_for(lambda: answers(80), "the other host's web server")
        yield


def answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((FAR, port), 0.2):
        return True
    return False


class Demo(NamedTuple):
    """A running `aishark demo`."""

    address: str
    process: "subprocess.Popen[str]"


@contextlib.contextmanager
def demo(*options: str) -> Iterator[Demo]:
    """`aishark demo` as a person starts it; ended with Ctrl-C, after which nothing of it may be left."""
    process = subprocess.Popen(
        [sys.executable, "-m", "aishark_panel", "demo", "--no-browser", "--port", "0", *options],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    address = next((m[0] for line in process.stdout if (m := re.search(r"http://\S+", line))), None)
    assert address
    children = children_of(process.pid)
    assert len(children) == 2
    yield Demo(address, process)
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(20) in (0, 130)
    process.stdout.close()
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children), "end of hub and agent", 10)


def children_of(pid: int) -> list[int]:
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def packets(page: Page) -> int:
    return int(page.locator(".figure.total b").inner_text().replace(",", ""))


def look_up(name: str) -> str:
    """Ask the other host's name server, as a resolver would."""
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.settimeout(5)
        asker.sendto(struct.pack(">HHHHHH", 7, 0x0100, 1, 0, 0, 0) + labels + b"\0\0\1\0\1", (FAR, 53))
        return socket.inet_ntoa(asker.recv(512)[-4:])


def fields(path: Path, require_tool: Callable[[str], str]) -> list[list[str]]:
    """tshark's reading of a capture: time, length, protocol and all bytes' checksum of each frame."""
    names = ["frame.time_epoch", "frame.len", "frame.protocols", "frame.md5_hash"]
    command = [require_tool("tshark"), "-n", "-r", str(path), "-o", "frame.generate_md5_hash:TRUE", "-T", "fields"]
    text = subprocess.run(
        [*command, *(a for n in names for a in ("-e", n))], capture_output=True, text=True, check=True
    ).stdout
    return [line.split("\t") for line in text.splitlines()]


def test_a_real_exchange_is_seen_on_the_page_and_exported_to_the_last_bit(
    browser: Browser, complaints: list[str], tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    reference = tmp_path / "dumpcap.pcapng"
    dumpcap = subprocess.Popen(
        [require_tool("dumpcap"), "-q", "-i", "near0", "-w", str(reference)], stderr=subprocess.PIPE, text=True
    )
    wait_for(lambda: reference.exists() and reference.stat().st_size, "dumpcap's file")
    with demo("--interface", "near0") as running, opener(browser, running.address, complaints) as open_page:
        page = open_page(wait_for_packets=False)
        expect(page.locator(".state")).to_have_text("live", timeout=30_000)
        time.sleep(1)
        assert look_up("www.example.com") == FAR
        with urllib.request.urlopen(f"http://{FAR}/hello") as answer:
            assert len(answer.read()) == 5_000
        page.get_by_text("www.example.com").first.wait_for(timeout=10_000)
        page.get_by_text("GET /hello HTTP/1.1").first.wait_for(timeout=10_000)
        time.sleep(1)
        dumpcap.send_signal(signal.SIGINT)
        dumpcap.communicate(timeout=10)
        page.get_by_role("button", name="Export packets to a file").click()
        with page.expect_download() as download:
            page.get_by_role("radio", name=re.compile("^pcapng ")).check()
            page.get_by_role("button", name=re.compile("^Download ")).click()
        download.value.save_as(tmp_path / "page.pcapng")
        page.keyboard.press("Escape")
        if folder := os.environ.get("SCREENSHOTS"):
            page.screenshot(path=f"{folder}/live.png")
    ours, theirs = fields(tmp_path / "page.pcapng", require_tool), fields(reference, require_tool)
    # The kernel sends IPv6 of its own at any moment; an exchange between our two hosts is what both must agree on.
    ours, theirs = ([row for row in rows if ":ipv6" not in row[2]] for rows in (ours, theirs))
    first = next(i for i, row in enumerate(theirs) if row[3] == ours[0][3])
    theirs = theirs[first : first + len(ours)]
    assert [row[1:] for row in ours] == [row[1:] for row in theirs]
    protocols = " ".join(row[2] for row in ours)
    assert "dns" in protocols
    assert "http" in protocols
    for mine, other in zip(ours, theirs, strict=True):
        assert abs(nanoseconds(mine[0]) - nanoseconds(other[0])) < 1_000_000
    assert any(nanoseconds(row[0]) % 1_000 for row in ours), "times have nanoseconds"


def nanoseconds(epoch: str) -> int:
    seconds, _, fraction = epoch.partition(".")
    return int(seconds) * 10**9 + int(fraction)


def test_the_demo_on_loopback_does_not_feed_itself(browser: Browser, complaints: list[str]) -> None:
    with demo("--interface", "lo") as running, opener(browser, running.address, complaints) as open_page:
        page = open_page(wait_for_packets=False)
        expect(page.locator(".state")).to_have_text("live", timeout=30_000)
        time.sleep(3)
        before = packets(page)
        assert before < 10
        time.sleep(2)
        assert packets(page) == before, "the page's own traffic is captured"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for _ in range(5):
                sender.sendto(b"hello", ("127.0.0.1", 40_000))
        # Five datagrams, once each, and as many answers that nobody listens there.
        expect(page.locator(".figure.total b")).to_have_text(str(before + 10), timeout=10_000)
    assert complaints == []


def test_without_an_interface_the_demo_ends_with_the_agents_reason() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "aishark_panel", "demo", "--no-browser", "--port", "0", "--interface", "nosuch0"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert "nosuch0" in done.stderr
    assert "Traceback" not in done.stderr
