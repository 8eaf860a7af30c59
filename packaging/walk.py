"""Walks what the README promises, in a fresh clone and as a stranger does, and writes down how long each step takes.

    make walk                        # ten minutes; prints the table
    make walk ARGS=--publish         # and puts it into docs/walk.md

The clone, its environments, and the home of the one who walks are made in a temporary folder and go with it. Commands
are those of the README, in a shell. The remote host is this one, behind a real sshd on a port and with keys of its own.
It needs Linux, root (sshd, tcpdump and the agent capture on lo), git, make, curl, sshd, tshark, Chromium, and the ports
5006 and 8765 free. A step that fails ends the walk with what it said, and nothing is published.
"""

import argparse
import contextlib
import datetime
import json
import os
import platform
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from playwright.sync_api import sync_playwright

T = TypeVar("T")
ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "walk.md"
MARK = "<!-- walk -->\n"
PATIENCE_S = 900
WEB_PORT = 8080
NOT_A_STRANGERS = ("AISHARK_", "XDG_", "PYTHON", "VIRTUAL_ENV", "MAKE", "MFLAGS", "ARGS")
"""what variables begin with that a stranger's shell lacks; a make that runs this would hand its arguments on"""
INTERFACE = f'-i lo -f "tcp port {WEB_PORT}"'


class Walk:
    """One walk: a folder, the shell's environment, and what was done."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clone = folder / "aishark_panel"
        home = folder / "home"
        home.mkdir()
        kept = {name: value for name, value in os.environ.items() if not name.startswith(NOT_A_STRANGERS)}
        path = os.pathsep.join(
            [
                str(folder / "bin"),
                str(self.clone / ".venv/bin"),
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            ]
        )
        # BROWSER: the page is opened by our own Chromium, which says when it is painted.
        self.environment = {**kept, "HOME": str(home), "PATH": path, "BROWSER": "true"}
        self.rows: list[tuple[str, str, float]] = []
        self.loads = [os.getloadavg()[0]]

    @contextlib.contextmanager
    def step(self, what: str, command: str) -> Iterator[None]:
        print(f"==> {what}: {command}", flush=True)
        begun = time.monotonic()
        yield
        took = time.monotonic() - begun
        self.loads.append(os.getloadavg()[0])
        self.rows.append((what, command, took))
        print(f"    {took:.1f} s", flush=True)

    def run(self, command: str) -> str:
        """Run a command of the shell in the clone to its end; what it printed."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            cwd=self.clone if self.clone.exists() else self.folder,
            env=self.environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=PATIENCE_S,
        )
        if done.returncode:
            raise SystemExit(f"{command} ended with {done.returncode}:\n{done.stdout[-3000:]}")
        return done.stdout

    @contextlib.contextmanager
    def running(self, command: str) -> Iterator[Path]:
        """Start a command as in a terminal of its own, end it with Ctrl-C; the file of what it says."""
        said = Path(tempfile.mkstemp(dir=self.folder, suffix=".said")[1])
        with said.open("w") as file:
            process = subprocess.Popen(
                ["bash", "-c", f"exec {command}"],
                cwd=self.clone,
                env=self.environment,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            yield said
        finally:
            for sent in (signal.SIGINT, signal.SIGKILL):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, sent)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(20)

    def asked(self, path: str) -> Any:
        """What the hub answers."""
        return json.loads(self.run(f'curl -sf -H "Authorization: Bearer $AISHARK_TOKEN" "$AISHARK_HUB{path}"'))


def found_in(said: Path, pattern: str) -> str:
    """What the pattern's group is, as soon as it is said."""
    found = until(lambda: re.search(pattern, said.read_text()), said)
    assert found, "until() gives true answers"
    return found[1]


def until(check: Callable[[], T], said: Path | None = None) -> T:
    """The first true answer; the walk ends when there is none for too long."""
    deadline = time.monotonic() + PATIENCE_S / 3
    while not (answer := check()):
        if time.monotonic() > deadline:
            raise SystemExit(f"It did not happen. What was said:\n{said.read_text()[-3000:] if said else ''}")
        time.sleep(0.1)
    return answer


def painted(address: str) -> None:
    """Open the page in Chromium, and wait until packets and a chart's canvas are on it."""
    with sync_playwright() as playwright:
        chromium = shutil.which("chromium") or shutil.which("chromium-headless-shell")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.set_default_timeout(PATIENCE_S * 1000 / 3)
        page.goto(address)
        page.locator(".packet-list .layer .row .number").first.wait_for()
        page.locator(".bk-Figure canvas").first.wait_for()
        browser.close()


@contextlib.contextmanager
def remote_host(walk: Walk) -> Iterator[None]:
    """sshd on a spare port as the host `web-1` of the walker's ssh, and a web server there that is busy."""
    folder = walk.folder / "sshd"
    folder.mkdir()
    with socket.socket() as spare:
        spare.bind(("127.0.0.1", 0))
        port = spare.getsockname()[1]
    for key in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key)], check=True)
    (folder / "known").write_text(f"[127.0.0.1]:{port} {(folder / 'host.pub').read_text()}")
    (folder / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {folder / 'host'}\nAuthorizedKeysFile {folder / 'user.pub'}\n"
        "PidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n"
    )
    (folder / "config").write_text(
        f"Host web-1\n HostName 127.0.0.1\n Port {port}\n User root\n IdentityFile {folder / 'user'}\n"
        f" UserKnownHostsFile {folder / 'known'}\n"
    )
    (walk.folder / "bin").mkdir()  # ssh takes its configuration from the home in /etc/passwd, whatever HOME says
    ssh = walk.folder / "bin" / "ssh"
    ssh.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {shlex.quote(str(folder / "config"))} "$@"\n')
    ssh.chmod(0o755)
    Path("/run/sshd").mkdir(exist_ok=True)
    sshd = subprocess.Popen([shutil.which("sshd") or "/usr/sbin/sshd", "-D", "-q", "-f", str(folder / "sshd_config")])
    web = subprocess.Popen(
        [sys.executable, "-m", "http.server", str(WEB_PORT), "--bind", "127.0.0.1", "--directory", str(folder)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    over = threading.Event()

    def ask() -> None:
        while not over.wait(0.2):
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{WEB_PORT}/config") as answer:
                answer.read()

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield
    finally:
        over.set()
        asking.join()
        for process in (sshd, web):
            process.terminate()
            process.wait()


def go(walk: Walk) -> None:
    """The walk itself."""
    with walk.step("clone", "git clone"):
        walk.run(f"git clone -q --no-hardlinks {shlex.quote(str(ROOT))} {shlex.quote(str(walk.clone))}")
    for what in ("first chart: installs, compiles, is painted in the browser", "the same again"):
        with walk.running("make demo") as said, walk.step(what, "make demo"):
            painted(found_in(said, r"(http://\S+/login\?\S+)"))
    with remote_host(walk), contextlib.ExitStack() as terminals:
        with walk.step("hub takes agents", "aishark hub"):
            said = terminals.enter_context(walk.running("aishark hub"))
            url, token = found_in(said, r"hub listens on (\S+)"), found_in(said, r"token: (\S+)")
        walk.environment.update(AISHARK_HUB=url, AISHARK_TOKEN=token)

        def agent(what: str, command: str, name: str) -> None:
            with walk.step(what, command):
                heard = terminals.enter_context(walk.running(command))
                until(
                    lambda: any(a["name"] == name and a["packets"] for a in walk.asked("/api/agents")["agents"]), heard
                )

        over_ssh = f"aishark agent --ssh web-1 {INTERFACE} --name web-1"
        agent("first remote packets, through ssh", over_ssh, "web-1")
        with walk.step("they are painted in the browser", "aishark serve"):
            said = terminals.enter_context(walk.running("aishark serve"))
            painted(found_in(said, r"(http://\S+/login\?\S+)"))
        install = "python3 -m venv agent && agent/bin/pip install ."
        with walk.step("install an agent, in an environment of its own", install):
            walk.run(install)
        installed = f"agent/bin/aishark agent {INTERFACE} --name web-2"
        agent("its first packets", installed, "web-2")
        session = next(each["id"] for each in walk.asked("/api/stream")["sessions"] if each["name"] == "live")
        alerts = f"/api/stream/{session}/alerts"
        assert not walk.asked(alerts)["alerts"], "nothing alarmed anybody before"
        made_up = "aishark agent --synthetic --name web-3"
        with walk.step("first alert of the built-in rules, in made-up traffic", made_up):
            heard = terminals.enter_context(walk.running(made_up))
            until(lambda: any(alert["state"] == "firing" for alert in walk.asked(alerts)["alerts"]), heard)
        with walk.step("install JupyterLab", "pip install -e '.[notebook]'"):
            walk.run("pip install -e '.[notebook]'")
        notebook = "jupyter execute notebooks/01_quickstart.ipynb"
        with walk.step("first notebook, from its first to its last cell", notebook):
            walk.run(notebook)
        stream = (
            'curl -sN -H "Authorization: Bearer $AISHARK_TOKEN" $AISHARK_HUB/api/stream/ID/pcapng | tshark -r - -c 5'
        )
        with walk.step("first packets in Wireshark's tshark", stream):
            # What curl says of a reader that left is no failure.
            seen = walk.run(f"{{ {stream.replace('ID', session).replace(' |', ' || true; } 2> /dev/null |')}")
            if len(re.findall(r"^ +[1-5] +[0-9.]+ ", seen, re.MULTILINE)) != 5:
                raise SystemExit(f"tshark did not show five packets:\n{seen}")


def table(walk: Walk) -> str:
    """What was done, in Markdown."""
    rows = [f"| {what} | `{command.replace('|', chr(92) + '|')}` | {took:.1f} |" for what, command, took in walk.rows]
    processor = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    return "\n".join(
        [
            "| step | command | seconds |",
            "| --- | --- | ---: |",
            *rows,
            f"| all of it | | {sum(took for *_, took in walk.rows):.0f} |",
            "",
            f"{datetime.date.today()}, {os.cpu_count()} processors, Python {platform.python_version()}, "
            f"{processor[1] if processor else platform.machine()}.",
            f"Load average meanwhile: {min(walk.loads):.1f} to {max(walk.loads):.1f}; beyond the number of processors, "
            "others took a part of the time.",
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--publish", action="store_true", help="put the table into docs/walk.md")
    options = parser.parse_args()
    if os.getuid():
        raise SystemExit("The walk captures on lo and starts an sshd: run it as root.")
    for port in (5006, 8765, WEB_PORT):
        with socket.socket() as listening:
            if listening.connect_ex(("127.0.0.1", port)) == 0:
                raise SystemExit(f"Port {port} is in use, and the README's commands need it.")
    with tempfile.TemporaryDirectory(prefix="aishark-walk-", ignore_cleanup_errors=True) as folder:
        walk = Walk(Path(folder))
        go(walk)
    text = table(walk)
    print(text)
    if options.publish:
        PAGE.write_text(PAGE.read_text().partition(MARK)[0] + MARK + "\n" + text)


if __name__ == "__main__":
    main()
