"""Does it hold for hours, while things break? Everything at once, for long, with faults on a schedule.

    make soak [ARGS="--minutes 60 --out FOLDER"]

A hub with journal, rules and two recordings that rotate; agents that capture a wire, make packets up, thin them out,
and replay a file in a loop; a dashboard with a browser that filters and reloads; exports; `session.follow()`.
Meanwhile hub and agents are killed, the network stalls, drops, delays and trickles, the disk is full, readers are slow.
All are real processes in namespaces of their own (network, mounts, processes), which needs unshare, ip and Chromium.

FOLDER gets soak.md, soak.svg and soak.jsonl (the samples). Ctrl-C ends the soak early, with its report. The exit status
is 1 if the ledger does not add up, a process died by itself, or memory has no bound (soak_report.py says how that is
judged), and 0 whatever else the report says.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pyarrow.parquet as pq

import aishark_panel as ais
from aishark_panel.capturefile import open_capture
from aishark_panel.client import HubClient
from aishark_panel.dissect.conversations import MAX_CONVERSATIONS
from aishark_panel.errors import AisharkError
from benchmarks.processes import cpu_s
from benchmarks.soak_faults import Faults
from benchmarks.soak_report import EXCUSED, Event, Report, dropped_in, publish, waiting_in, write_report
from benchmarks.soak_world import AISHARK, Disk, Member, Network, Visitor, Wire, chromium_pids, memory_mib, write_talks
from benchmarks.traces import write_trace
from tests.ledgers import identities, is_drained

T = TypeVar("T")

INSIDE = "AISHARK_BENCHMARK_INSIDE"
SESSIONS = ("soak", "files")
RATES = {"live": 400, "made-up": 1_500, "thinned": 1_500, "file": 500}
"""packets/s of each agent"""
FILLING_PPS = 20_000
ENDING = ("file", "filler")
"""Agents that end by themselves."""
RULES = """
rules:
  - {name: noisy_hosts, where: ip, by: [src_ip], over: 5s, having: packets >= 5, severity: info}
  - {name: noisy_talks, where: tcp or udp, by: [src_ip, dst_ip], over: 10s, having: bytes > 1000, severity: warning}
  - {name: noisy_ports, where: tcp, by: [dst_port], over: 5s, having: nunique(src_ip) >= 2, severity: critical}
"""
DISK_MIB = 448
PATIENCE_S = 90.0
"""For the recovery from a fault."""


def follow() -> None:
    """A notebook's loop over new packets; tells how it fares, a line every two seconds."""
    stream = ais.connect().session("soak").follow(columns=["ts", "protocol", "orig_len"])
    told_s, taken = 0.0, 0
    while True:
        for batch in stream:
            taken += batch.num_rows
            if time.monotonic() - told_s > 2:
                told_s = time.monotonic()
                counts = {"taken": taken, "left_buffer": stream.dropped, "missed": stream.missed}
                print(json.dumps(counts), flush=True)
        time.sleep(0.5)


class Soak:
    """One run."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.options, self.folder = options, folder
        self.wire, self.disk = Wire(), Disk(folder / "disk", DISK_MIB)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url, self.token = f"http://127.0.0.1:{self.port}", secrets.token_urlsafe(24)
        self.network = Network(self.port)
        self.members: dict[str, Member] = {}
        self.visitor: Visitor | None = None
        self.ids: dict[str, str] = {}
        """of sessions"""
        self.began_s = time.monotonic()
        self.report = Report(minutes=options.minutes, rates=RATES, kernel=os.uname().release, cores=os.cpu_count() or 0)
        self.loops = 0
        self.file_packets = 0
        self.stopping = asyncio.Event()
        self.well_begun = False
        self.ending = False

    @property
    def now_s(self) -> float:
        return time.monotonic() - self.began_s

    # --- its parts -----------------------------------------------------------------------------------------------

    def member(self, name: str, *command: str, url: str = "", **variables: str) -> Member:
        environment = {
            "AISHARK_TOKEN": self.token,
            "AISHARK_HUB": url or self.url,
            "XDG_STATE_HOME": str(self.folder / "state"),
            "XDG_RUNTIME_DIR": str(self.folder),
            **variables,
        }
        member = Member(name, list(command), environment, self.options.out / "logs" / f"{name}.log")
        self.members[name] = member
        return member

    def agent(self, name: str, *options: str, session: str = "soak", **performance: str) -> Member:
        variables = {f"AISHARK_PERFORMANCE__{key.upper()}": value for key, value in performance.items()}
        return self.member(
            name,
            *[*AISHARK, "agent", "--name", name, "--session", session, "--max-retries", "-1", *options],
            url=f"http://127.0.0.1:{self.network.port}",
            AISHARK_SERVER__RECONNECT_MAX="2s",
            **variables,
        )

    async def set_up(self) -> None:
        """Start everything, one after the other, until packets flow."""
        (self.options.out / "logs").mkdir(parents=True, exist_ok=True)
        rules, disk = self.folder / "rules.yaml", self.disk.folder
        rules.write_text(RULES)
        kept = ["--journal", f"{disk}/journal", "--recordings", f"{disk}/recordings", "--state", f"{disk}/state"]
        sizes = ["--ring-mib", "48", "--journal-size", "128MiB", "--recordings-size", "64MiB"]
        hub = [*AISHARK, "hub", "--port", str(self.port), "--rules", str(rules), *kept, *sizes]
        self.member("hub", *hub).start()
        await self.until(lambda: self.ask(lambda c: c.sessions()), "the hub")
        await self.network.start()
        made_up = ["--synthetic", "--snaplen", "256"]
        self.agent("live", "-i", "far", "-f", Wire.FILTER).start()
        self.agent("made-up", *made_up, "--rate", str(RATES["made-up"]), spool=str(self.folder / "spool")).start()
        thinner = ["--sampling", "4", "--max-packets-per-second", "250", "--payload", "headers", "--outbox", "1MiB"]
        self.agent("thinned", *made_up, "--rate", str(RATES["thinned"]), *thinner).start()
        seconds = max(30.0, self.options.minutes * 60 / 60)
        file, self.file_packets = self.folder / "trace.pcap", int(seconds * RATES["file"])
        write_trace(file, self.file_packets, snaplen=256, even_pps=RATES["file"])
        self.agent("file", "-r", str(file), "--speed", "1", session="files").start()
        await self.until(self.find_sessions, "both sessions")
        await self.until(lambda: self.well(), "all agents' captures")
        self.agent("filler", "-r", str(self.folder / "talks.pcap"), "--speed", "1")
        await self.fill()
        for form, rotate in (("pcapng", {"rotate_bytes": 8 * 2**20}), ("parquet", {"rotate_s": 15.0})):
            await self.ask(lambda c, f=form, r=rotate: c.record_start(self.ids["soak"], f, max_files=4, **r))
        self.wire.send(RATES["live"])
        self.member("follower", sys.executable, "-m", "benchmarks.soak", "follow").start()
        dashboard = self.member("dashboard", *AISHARK, "serve", "--no-browser", "--port", "0")
        dashboard.start()
        address = await self.until(lambda: self.address_of(dashboard), "the dashboard")
        self.visitor = Visitor(address, self.options.chromium, pause_s=3.0)
        self.visitor.start()

    async def fill(self) -> None:
        """Fill the hub's table of conversations until it forgets some, for which made-up traffic takes an hour."""
        await asyncio.to_thread(write_talks, self.folder / "talks.pcap", MAX_CONVERSATIONS, FILLING_PPS)
        self.members["filler"].start()
        await self.until(self.is_full, "a full table of conversations")

    async def is_full(self) -> bool:
        found = await self.books()
        return found is not None and found[0]["soak"]["conversations_forgotten"] > 0

    async def address_of(self, dashboard: Member) -> str:
        found = re.search(r"http://\S+/login\S+", dashboard.log.read_text())
        return found[0] if found else ""

    async def find_sessions(self) -> bool:
        self.ids = {s["name"]: s["id"] for s in await self.ask(lambda c: c.sessions()) or [] if s["name"] in SESSIONS}
        return len(self.ids) == len(SESSIONS)

    async def ask(self, question: Callable[[HubClient], Awaitable[T]]) -> T | None:
        """Ask the hub over a connection of its own; None if it does not answer in time."""
        with contextlib.suppress(AisharkError, TimeoutError, OSError):
            async with asyncio.timeout(10), HubClient(self.url, self.token) as client:
                return await question(client)
        return None

    async def until(self, check: Callable[[], Awaitable[T]], what: str, patience_s: float = PATIENCE_S) -> T:
        deadline_s = time.monotonic() + patience_s
        while not (answer := await check()):
            for name, member in self.members.items():
                if not self.well_begun and name not in ENDING and member.look():
                    raise SystemExit(f"{name} did not start:\n{member.log.read_text()}")
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"{what} did not come within {patience_s:.0f} s")
            await asyncio.sleep(0.25)
        return answer

    async def books(self) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """Statistics and ledgers of the sessions, by name; None if the hub does not answer."""

        async def look(client: HubClient) -> tuple[dict[str, Any], dict[str, Any]]:
            stats = {name: await client.stats(id) for name, id in self.ids.items()}
            return stats, {name: await client.ledger(id) for name, id in self.ids.items()}

        return await self.ask(look)

    async def well(self) -> bool:
        """Whether all is as it should be: agents there, journal and recordings at work, nothing waits for long."""
        found = await self.books()
        if found is None:
            return False
        stats, books = found
        there = {a["name"] for a in stats["soak"]["agents"] if a["connected"] and a["capturing"]}
        recordings = stats["soak"]["recordings"]
        disks = all(s["journal"]["state"] == "on" for s in stats.values()) and not recordings["waiting"]
        return {"live", "made-up", "thinned"} <= there and disks and waiting_in(books) < 2 * sum(RATES.values())

    # --- what goes on --------------------------------------------------------------------------------------------

    async def watch(self) -> None:
        """Replay the file again and again; end the soak when anything else ends by itself."""
        while True:
            for name, member in self.members.items():
                if (status := member.look()) is None:
                    continue
                if name in ENDING and status == 0:
                    self.loops += name == "file"
                    if name == "file" and not self.ending:
                        member.start()
                elif not self.ending:
                    member.deaths = member.deaths or ["ended, with status 0"]
                    self.say(f"{name} died by itself: {member.deaths[-1]}")
                    self.stopping.set()
            await asyncio.sleep(0.5)

    async def sample(self) -> None:
        """Memory, CPU, ledger, at even times."""
        every_s = max(2.0, self.options.minutes * 60 / 600)
        said_s, cpu_before = -1e9, {}
        with (self.options.out / "soak.jsonl").open("w") as file:
            while True:
                line: dict[str, Any] = {"at_s": round(self.now_s, 1)}
                roles = {name: [m.pid] for name, m in self.members.items()} | chromium_pids()
                roles["soak"] = [os.getpid()]
                line["pids"] = {role: pids[0] for role, pids in roles.items() if pids and pids[0]}
                line["pids"] |= {"pages": line["pids"]["browser"]} if "browser" in line["pids"] else {}
                sums = {role: [memory_mib(pid) for pid in pids] for role, pids in roles.items()}
                line["rss_mib"] = {role: round(sum(m[0] for m in all_), 1) for role, all_ in sums.items()}
                line["private_mib"] = {role: round(sum(m[1] for m in all_), 1) for role, all_ in sums.items()}
                cpu = {}
                for pid in (pid for pids in roles.values() for pid in pids if pid):
                    with contextlib.suppress(OSError, ValueError):
                        cpu[pid] = cpu_s(pid)
                line["cpu_s"] = round(sum(s - cpu_before.get(pid, 0.0) for pid, s in cpu.items()), 2)
                cpu_before = cpu
                asked_s = time.monotonic()
                if (found := await self.books()) is not None:
                    stats, books = found
                    line |= {
                        "answer_ms": round(1e3 * (time.monotonic() - asked_s)),
                        "packets": {name: s["packets"] for name, s in stats.items()},
                        "waiting": waiting_in(books),
                        "dropped": dropped_in(books),
                        "journal": stats["soak"]["journal"]["state"],
                        "alerts": sum(s["alerts"]["raised"] for s in stats.values()),
                        "forgotten": stats["soak"]["conversations_forgotten"],
                    }
                self.report.samples.append(line)
                file.write(json.dumps(line) + "\n")
                file.flush()
                if self.now_s - said_s > max(10.0, self.options.minutes):
                    said_s = self.now_s
                    packets = sum(line["packets"].values()) if "packets" in line else None
                    count = f"{packets:,} packets, {line['waiting']:,} wait" if packets is not None else "no answer"
                    self.say(f"{count}; hub {line['private_mib']['hub']:.0f} MiB private; CPU {line['cpu_s']:.1f} s")
                await asyncio.sleep(every_s)

    async def export(self) -> None:
        """Export what the ring holds while more comes in, in turns as pcapng and Parquet, and look at the files."""
        target = self.folder / "export"
        for form in itertools.cycle(("pcapng", "parquet")):
            await asyncio.sleep(max(10.0, self.options.minutes))

            async def fetch(client: HubClient, form: str = form) -> bool:
                with target.open("wb") as file:
                    await client.export(self.ids["soak"], form, "", lambda piece: file.write(piece) and None)
                return True

            if await self.ask(fetch):
                count = await asyncio.to_thread(packets_in, target, form)
                self.report.exports.append((form, count))
            else:
                self.report.exports_failed += 1

    async def break_things(self) -> None:
        """One fault after the other, each until the soak has recovered. Nothing is killed in the second half, so that
        the memory of one life can be judged over that."""
        whole_s = self.options.minutes * 60
        hold_s = min(20.0, max(4.0, whole_s / 90))
        every_s, calm_s = max(whole_s / 30, hold_s + 6), max(15.0, whole_s / 15)
        faults = Faults(
            *(self.members[name] for name in ("hub", "made-up")),
            self.network,
            self.disk,
            lambda: HubClient(self.url, self.token),
            self.ids["soak"],
        )
        self.report.readers = faults.readers
        await asyncio.sleep(calm_s)
        for name, fault in faults.in_turns():
            if self.now_s > whole_s - calm_s - hold_s:
                break
            if name in Faults.KILLS and self.now_s > whole_s / 2:
                continue
            begun_s = self.now_s
            before = self.lost_so_far()
            async with fault():
                await asyncio.sleep(2.0 if name in Faults.KILLS else hold_s)
            event = Event(name, begun_s, self.now_s)
            self.report.events.append(event)
            with contextlib.suppress(TimeoutError):
                await self.until(self.well, "recovery")
                event.recovered_s = self.now_s
                if name == "hub killed":
                    await self.fill()
            await asyncio.sleep(2.0)  # for a sample
            event.lost = self.lost_so_far() - before
            took = f"{event.recovered_s - event.ended_s:.1f} s" if event.recovered_s else "NOT RECOVERED"
            self.say(f"{name}, for {event.ended_s - event.begun_s:.0f} s; recovery {took}")
            await asyncio.sleep(max(0.0, begun_s + every_s - self.now_s))

    def lost_so_far(self) -> Counter[str]:
        told = next((s["dropped"] for s in reversed(self.report.samples) if "dropped" in s), {})
        return Counter({reason: count for reason, count in told.items() if reason not in EXCUSED})

    # --- its end -------------------------------------------------------------------------------------------------

    async def settle(self) -> None:
        """Stop the traffic, wait until nothing is on its way, and look whether everything is accounted for."""
        self.wire.stop()
        await asyncio.sleep(1.0)
        for id in self.ids.values():
            await self.until(lambda id=id: self.ask(lambda c: done(c.stop(id))), "the end of the capture")
        with contextlib.suppress(TimeoutError):
            await self.until(self.drained, "a drained session", 120.0)
        found = await self.books()
        if found is None:
            self.report.wrong.append("the hub does not answer at the end")
            return
        stats, books = found
        report = self.report
        report.books, report.stats = books, stats
        for name, book in books.items():
            report.wrong += [f"session {name}: {text}" for text in identities(book)]
            if not is_drained(book):
                report.wrong.append(f"session {name}: {waiting_in({name: book}):,} packets are still on their way")
            report.wrong += [
                f"recording {r['recording']} of {name}: {r['difference']:,} packets are not accounted for"
                for r in book["recordings"]
                if r["difference"]
            ]
            if stats[name]["forgotten_agents"]:
                report.wrong.append(f"session {name} has forgotten agents: its ledger is not whole")
        seen = sum(
            stage["packets"]
            for agent in books["soak"]["agents"]
            for stage in agent["stages"]
            if agent["agent"] == "live" and stage["stage"] == "capture"
        )
        report.wire = (self.wire.packets, seen)
        if self.wire.packets != seen:
            report.wrong.append(f"{self.wire.packets:,} frames passed the wire, the agent on it knows of {seen:,}")
        replayed = [
            next(stage["packets"] for stage in agent["stages"] if stage["stage"] == "agent")
            for agent in books["files"]["agents"]
            if not agent["connected"]
        ]
        report.files = (self.file_packets, replayed)
        report.wrong += [f"a replay sent {n:,} of {self.file_packets:,}" for n in replayed if n != self.file_packets]
        if report.readers["unexplained"]:
            report.wrong.append(f"slow readers found {report.readers['unexplained']:,} numbers missing without a word")

    async def drained(self) -> bool:
        found = await self.books()
        return found is not None and all(is_drained(book) for book in found[1].values())

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.stopping.set)
        try:
            await self.set_up()
        except BaseException:
            self.tear_down()
            raise
        self.well_begun, self.began_s = True, time.monotonic()
        self.say(f"everything runs; faults follow for {self.options.minutes:g} minutes. Ctrl-C ends it early")
        tasks = [asyncio.create_task(work()) for work in (self.watch, self.sample, self.export, self.break_things)]
        stopping = asyncio.create_task(self.stopping.wait())
        await asyncio.wait([stopping, tasks[3]], return_when=asyncio.FIRST_COMPLETED)
        if tasks[3].done() and not tasks[3].cancelled():
            tasks[3].result()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(stopping), max(0.0, self.options.minutes * 60 - self.now_s))
        self.report.lasted_s = self.now_s
        self.ending = True
        tasks[2].cancel()
        tasks[3].cancel()  # puts right what is broken just now
        await asyncio.gather(*tasks[2:], return_exceptions=True)
        if self.members["hub"].pid == 0:
            self.members["hub"].start()
        self.say("waiting until nothing is on its way")
        try:
            await self.settle()
        except TimeoutError as error:
            self.report.wrong.append(str(error))
        finally:
            for task in (*tasks, stopping):
                task.cancel()
            await asyncio.gather(*tasks, stopping, return_exceptions=True)
            self.tear_down()

    def tear_down(self) -> None:
        """End everything, the hub last, and gather what the members have to say."""
        self.wire.stop()
        if self.visitor:
            self.visitor.stop()
            self.report.visitor = dict(self.visitor.did)
            self.report.complaints = self.visitor.complaints
            if self.visitor.crashes:
                self.report.deaths.append(f"the browser's page crashed {self.visitor.crashes} times")
        for name in reversed(self.members):
            member = self.members[name]
            if name == "follower":
                member.kill()
            else:
                member.end()
            self.report.deaths += [f"{name}: {death}" for death in member.deaths]
            self.report.lives[name] = len(member.lives)
            if member.log.exists():
                self.report.read_log(name, member.log.read_text(errors="replace"))
        self.report.loops = self.loops

    def say(self, text: str) -> None:
        minutes, seconds = divmod(int(self.now_s), 60)
        print(f"{minutes:3}:{seconds:02}  {text}", flush=True)


def packets_in(path: Path, form: str) -> int:
    if form == "parquet":
        return int(pq.read_metadata(path).num_rows)
    with open_capture(path) as capture:
        return sum(len(block) for block in capture)


async def done(work: Awaitable[None]) -> bool:
    await work
    return True


def main() -> None:
    if sys.argv[1:2] == ["follow"]:
        follow()
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--out", type=Path, default=Path("build/soak"), help="folder of the report")
    parser.add_argument("--publish", action="store_true", help="put the report into docs/soak.md")
    options = parser.parse_args()
    names = ("chromium", "chromium-browser", "google-chrome")
    options.chromium = next(filter(None, map(shutil.which, names)), None)
    if options.chromium is None or shutil.which("unshare") is None or shutil.which("ip") is None:
        sys.exit("A soak needs Chromium, unshare and ip (Debian: apt install chromium util-linux iproute2).")
    if INSIDE not in os.environ:
        user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
        spaces = ["unshare", *user, "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        command = [*spaces, sys.executable, "-m", "benchmarks.soak", *sys.argv[1:]]
        with subprocess.Popen(command, env={**os.environ, INSIDE: "1"}, start_new_session=True) as inside:
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, lambda *_: os.killpg(inside.pid, signal.SIGINT))
            sys.exit(inside.wait())
    with tempfile.TemporaryDirectory() as name:
        soak = Soak(options, Path(name))
        try:
            asyncio.run(soak.run())
        finally:
            subprocess.run(["umount", "--lazy", str(soak.disk.folder)], check=False)
    is_well = write_report(soak.report, options.out)
    if options.publish:
        publish(options.out, Path("docs"))
    sys.exit(0 if is_well else 1)


if __name__ == "__main__":
    main()
