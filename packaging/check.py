"""Installs aishark in every way that docs/howto/install.md describes and tries each: `make install-check`.

Everything is in a temporary folder: environments, caches, what programs keep. Programs run with the environment's own
folder alone on their PATH, so that nothing of this machine (Node.js, say) helps. Takes some minutes, and the package
index. Prints a table at the end; exit status 1 if a way does not work.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import venv
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKETS = 3_000


class Check:
    """The steps, what they share, and a line of the table for each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: list[tuple[str, float, str, str]] = []
        self.wheel = Path()
        self.aishark: dict[str, Path] = {}
        """the command of each environment"""
        homes = {"HOME": "home", "XDG_CACHE_HOME": "cache", "XDG_STATE_HOME": "state", "XDG_DATA_HOME": "data"}
        self.own = {name: str(folder / place) for name, place in homes.items()}
        Path(self.own["HOME"]).mkdir()

    def step(self, name: str, run: Callable[[], str]) -> None:
        """Run one step; it returns what is worth a place in the table, or raises."""
        print(f"==> {name}", flush=True)
        began = time.monotonic()
        try:
            said, result = run(), "ok"
        except subprocess.CalledProcessError as error:
            print(error.stdout, error.stderr, sep="\n", file=sys.stderr)
            said, result = f"{Path(error.cmd[0]).name} ended with {error.returncode}", "FAILED"
        except (OSError, RuntimeError, subprocess.TimeoutExpired) as error:
            said, result = str(error), "FAILED"
        self.rows.append((name, time.monotonic() - began, said, result))
        print(f"    {result} {said}", flush=True)

    def environment(self, name: str) -> dict[str, str]:
        """What programs of that environment see."""
        return {"PATH": str(self.aishark[name].parent), "LANG": "C.UTF-8", **self.own}

    def run(self, name: str, *words: str, **more: str) -> str:
        """What `aishark WORDS` prints."""
        command = [str(self.aishark[name]), *words]
        return _run(command, env={**self.environment(name), **more}, cwd=self.folder)

    def build(self) -> str:
        """A source distribution, and a wheel from it; the checkout's own wheel is the same."""
        _run([sys.executable, "-m", "build", "--outdir", str(self.folder / "dist"), str(ROOT)])
        _run([sys.executable, "-m", "build", "--wheel", "--outdir", str(self.folder / "direct"), str(ROOT)])
        (self.wheel,) = (self.folder / "dist").glob("*.whl")
        (source,) = (self.folder / "dist").glob("*.tar.gz")
        direct = self.folder / "direct" / self.wheel.name
        if _contents(self.wheel) != _contents(direct):
            raise RuntimeError("the wheel of the source distribution differs from the checkout's")
        return f"wheel {_mb(self.wheel)}, sdist {_mb(source)}"

    def make(self, name: str, extras: str = "", *options: str) -> str:
        """An environment with the wheel and those extras."""
        place = self.folder / name
        venv.create(place, with_pip=True)
        python = str(place / "bin" / "python")
        _run([python, "-m", "pip", "install", "--quiet", *options, f"{self.wheel}{extras}"])
        self.aishark[name] = place / "bin" / "aishark"
        packages = json.loads(_run([python, "-m", "pip", "list", "--format", "json"]))
        self.run(name, "--version")
        self.run(name, "--help")
        return f"{_mb(place)}, {len(packages) - 1} packages; most: {_largest(place)}"  # pip is no package of ours

    def offline(self) -> str:
        """A folder of wheels, and an environment from it alone."""
        wheels = self.folder / "wheelhouse"
        _run([sys.executable, "-m", "pip", "wheel", "--quiet", "--wheel-dir", str(wheels), str(self.wheel)])
        self.make("offline", "", "--no-index", "--find-links", str(wheels))
        return f"folder of {_mb(wheels)}"

    def tool(self, name: str, *install: str) -> str:
        """By pipx or uv, which come from the index, too."""
        place = self.folder / f"with-{name}"
        venv.create(place, with_pip=True)
        _run([str(place / "bin" / "python"), "-m", "pip", "install", "--quiet", name])
        folders = {"UV_TOOL_DIR": "tools", "UV_TOOL_BIN_DIR": "bin", "PIPX_HOME": "tools", "PIPX_BIN_DIR": "bin"}
        environment = {**os.environ, **self.own, **{key: str(place / f"own-{end}") for key, end in folders.items()}}
        _run([str(place / "bin" / name), *install, str(self.wheel)], env=environment)
        self.aishark[name] = place / "own-bin" / "aishark"
        return self.run(name, "--version").splitlines()[0]

    def agent_alone(self) -> str:
        """What an agent's environment refuses, with what is missing; it has a unit of its own."""
        for words, extra in ((["hub"], "hub"), (["demo"], "dashboard")):
            command = [str(self.aishark["agent"]), *words]
            done = subprocess.run(command, env=self.environment("agent"), capture_output=True, text=True, timeout=60)
            if done.returncode != 2 or f"aishark-panel[{extra}]" not in done.stderr:
                raise RuntimeError(f"{words[0]}: {done.stderr}")
        if f"ExecStart={self.aishark['agent']} agent" not in self.run("agent", "agent", "install"):
            raise RuntimeError("the unit does not run this installation")
        return "hub and demo say what they need"

    def replay(self) -> str:
        """An agent of one environment sends a file to the hub of another; all packets arrive."""
        capture = self.folder / "made.pcap"
        _write_capture(capture)
        token = {"AISHARK_TOKEN": "install-check"}
        with self.started("dashboard", "hub", "--port", "0", **token) as (hub, address):
            began = time.monotonic()
            there = {**token, "AISHARK_HUB": address}
            self.run("agent", "agent", "-r", str(capture), "--speed", "max", **there)
            took_s = time.monotonic() - began
            sessions = ""
            while time.monotonic() - began < 300 and hub.poll() is None:
                sessions = self.run("dashboard", "session", "list", **there)
                if f"{PACKETS:,} packets" in sessions:
                    return f"{PACKETS:,} packets; the agent took {took_s:.0f} s, its first start"
                time.sleep(1)
        raise RuntimeError(f"the hub has {sessions!r}")

    def page(self, chromium: str) -> str:
        """`aishark demo` in a browser: packets appear, the console stays clean, nothing is asked of other hosts."""
        from playwright.sync_api import sync_playwright

        began = time.monotonic()
        problems: list[str] = []
        demo = self.started("dashboard", "demo", "--no-browser", "--port", "0", "--hub-port", "0")
        with demo as (_, address), sync_playwright() as playwright:
            here = address.split("/login")[0]
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
            page = browser.new_page()
            page.on("console", lambda m: problems.append(m.text) if m.type in ("error", "warning") else None)
            page.on("pageerror", lambda error: problems.append(str(error)))
            page.on("requestfailed", lambda r: problems.append(f"{r.url} failed"))
            page.on("request", lambda r: None if _is_at(here, r.url) else problems.append(f"{r.url} was asked for"))
            page.goto(address)
            page.locator(".packet-list [role=gridcell] >> text=TCP").first.wait_for(timeout=180_000)
            took_s = time.monotonic() - began
            browser.close()
        if problems:
            raise RuntimeError("; ".join(problems))
        return f"packets on the page after {took_s:.0f} s"

    @contextmanager
    def started(self, name: str, *words: str, **more: str) -> Iterator["tuple[subprocess.Popen[str], str]"]:
        """A program, and the address that it prints."""
        command, environment = [str(self.aishark[name]), *words], {**self.environment(name), **more}
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, cwd=self.folder)
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if found := re.search(r"http://\S+", line):
                    yield process, found[0]
                    return
            raise RuntimeError(f"{' '.join(words)} ended before it printed its address")
        finally:
            process.terminate()
            process.communicate(timeout=120)

    def table(self) -> str:
        width = max(len(row[0]) for row in self.rows)
        return "\n".join(
            f"{name:{width}}  {took_s:5.0f} s  {result:6}  {said}" for name, took_s, said, result in self.rows
        )


def _run(command: list[str], **options: object) -> str:
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=1_200, **options)  # type: ignore[call-overload]
    return str(done.stdout)


def _is_at(address: str, url: str) -> bool:
    return url.startswith((address, "ws" + address.removeprefix("http"), "data:", "blob:"))


def _contents(wheel: Path) -> dict[str, int]:
    with zipfile.ZipFile(wheel) as archive:
        return {each.filename: each.CRC for each in archive.infolist()}


def _bytes(path: Path) -> int:
    return sum(each.stat().st_size for each in path.rglob("*") if each.is_file() and not each.is_symlink())


def _mb(path: Path) -> str:
    size = _bytes(path) if path.is_dir() else path.stat().st_size
    return f"{size / 1e6:.{0 if size > 2e7 else 1}f} MB"


def _largest(environment: Path) -> str:
    (packages,) = environment.glob("lib/python*/site-packages")
    sizes = sorted(((_bytes(each), each.name) for each in packages.iterdir() if each.is_dir()), reverse=True)
    return ", ".join(f"{name} {size / 1e6:.0f}" for size, name in sizes[:4])


def _write_capture(path: Path) -> None:
    """A classic pcap file of small UDP packets."""
    frame = bytes.fromhex("02000000000102000000000208004500001c00010000401100000a0000010a000002003500350008") + bytes(2)
    head = bytes.fromhex("d4c3b2a1020004000000000000000000ffff000001000000")
    with path.open("wb") as file:
        file.write(head)
        for number in range(PACKETS):
            numbers = (1_700_000_000 + number // 1_000, number % 1_000 * 1_000, len(frame), len(frame))
            file.write(b"".join(each.to_bytes(4, "little") for each in numbers) + frame)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chromium", default="", help="a Chromium; without one the page is not tried")
    parser.add_argument("--quick", action="store_true", help="without pipx, uv and the folder of wheels")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="aishark-install-") as folder:
        check = Check(Path(folder))
        check.step("wheel and sdist", check.build)
        check.step("agent alone", lambda: check.make("agent"))
        check.step("... says what is missing", check.agent_alone)
        check.step("hub", lambda: check.make("hub", "[hub]"))
        check.step("dashboard", lambda: check.make("dashboard", "[dashboard]"))
        check.step("agent to hub, a file", check.replay)
        if options.chromium:
            check.step("demo in Chromium", lambda: check.page(options.chromium))
        if not options.quick:
            check.step("uv tool install", lambda: check.tool("uv", "tool", "install", "--quiet"))
            check.step("pipx install", lambda: check.tool("pipx", "install", "--quiet"))
            check.step("offline, from wheels", check.offline)
        print(f"\n{check.table()}")
    return int(any(row[3] != "ok" for row in check.rows))


if __name__ == "__main__":
    sys.exit(main())
