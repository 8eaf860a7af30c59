"""A session: one capture run with its ring, rollups, conversations and the agents that feed it.

Everything is pure: frames and time come in as arguments. `ingest` is the hot path and runs on one worker thread at a
time; all else may be called from other threads while it runs.
"""

import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from aishark_panel.alerts.log import AlertLog
from aishark_panel.alerts.rule import Rule
from aishark_panel.dissect.conversations import Conversations
from aishark_panel.errors import ProtocolError
from aishark_panel.streams.agentrun import AgentRun
from aishark_panel.streams.feeds import Feeds
from aishark_panel.streams.interfaces import Interfaces, characters_of
from aishark_panel.streams.journalstate import JournalState
from aishark_panel.streams.losses import Losses, lost_by
from aishark_panel.streams.manifest import Recorded
from aishark_panel.streams.matches import Matches
from aishark_panel.streams.merge import MAX_WAITING_BYTES, WINDOW_NS, Merge, Piece
from aishark_panel.streams.ring import BlockView, Ring
from aishark_panel.streams.rollups import Rollups
from aishark_panel.streams.segments import Gap
from aishark_panel.streams.summaries import Summaries
from aishark_panel.wire.columnbatch import ColumnBatch
from aishark_panel.wire.frames import Frames
from aishark_panel.wire.messages import Hello, InterfaceInfo
from aishark_panel.wire.packets import Interface, Packets
from aishark_panel.wire.pcapheaders import CaptureInterface

__all__ = ["DEFAULT_RING_BYTES", "JournalState", "Session", "SessionState"]

log = logging.getLogger(__name__)

DEFAULT_RING_BYTES: Final = 512 * 2**20
MAX_GONE_RUNS: Final = 100
MAX_GONE_CHARACTERS: Final = 2**22
"""Runs that are remembered after they left, and what they say of their interfaces."""
MAX_GAPS: Final = 1_000
"""The newest are remembered."""
_RATE_SPAN_S: Final = 2.0
_END_OF_TIME: Final = 2**63 - 1

SessionState = Literal["waiting", "capturing", "stopped", "ended"]


class Session:
    """Packets of one or more agents: of several, merged by their time (streams/merge.py), else as the hub took them."""

    def __init__(
        self,
        session_id: str,
        name: str,
        *,
        owner: str = "",
        ring_bytes: int = DEFAULT_RING_BYTES,
        rules: Sequence[Rule] = (),
    ) -> None:
        self.id = session_id
        self.name = name
        self.owner = owner
        """name of the person it belongs to; "" for the hub's own"""
        self.ring = Ring(ring_bytes)
        self.merge = Merge()
        self.holding = False
        """whether packets of live agents wait in `merge` before they go on; if not, it is empty"""
        self.failed = 0
        """packets that could not be dissected or merged: a defect of the hub"""
        self.trouble = ""
        """what else such a defect did, in words; '' as long as none showed"""
        self.rollups = Rollups()
        self.matches = Matches()
        self.summaries = Summaries()
        self.feeds = Feeds()
        self.alerts = AlertLog(rules)
        self._interfaces = Interfaces()
        self.interfaces: list[Interface] = self._interfaces.known
        self.runs: dict[str, AgentRun] = {}
        """by their ids; agents come on the event loop, and those of a journal on the ingest worker: go over a copy"""
        self.forgotten_runs = 0
        """that left, and had to make room for newer ones"""
        self.deleted = False
        """whether it is gone from the hub; who still reads it ends"""
        self.preparing = ""
        """what the hub must do before it can take packets, in words"""
        self.recovering = ""
        """how far the hub is with reading the session back from its journal, in words; '' once it is done"""
        self.journal: Callable[[], JournalState] | None = None
        """how its journal fares; None: it has none"""
        self.recordings: list[Recorded] = []
        """oldest first"""
        self.lost_in_hub_crash = 0
        """packets that an earlier hub had taken, and that went with it"""
        self.gaps: deque[Gap] = deque(maxlen=MAX_GAPS)
        """times in which nothing was heard, oldest first"""
        self.losses = Losses()
        self.wanted = True
        """whether the user wants packets (start and stop)"""
        self.packets = 0
        self.bytes = 0
        """bytes on the wire of all packets taken"""
        self.first_ts = 0
        self.last_ts = 0
        """packet time of the first and of the newest packet, ns; 0 before the first"""
        self._rate_marks: deque[tuple[float, int, int]] = deque(maxlen=64)

    @property
    def safe_end(self) -> int:
        """Packets before this number keep it: they survive a crash of the hub, or there is nothing to keep any."""
        end = self.ring.end
        if self.journal is None or self.recovering:
            return end
        state = self.journal()
        return end if state.problem else min(state.durable_end, end)

    def link_type(self, agent: str, interface: str) -> int:
        """The link type of an agent's interface; Ethernet where it is not known."""
        return next((i.link_type for i in self.interfaces if (i.agent, i.name) == (agent, interface)), 1)

    @property
    def conversations(self) -> Conversations:
        """Who talked with whom so far."""
        return self.ring.dissector.conversations

    def attach(self, hello: Hello) -> AgentRun:
        """Register an agent's run, or find it again after a reconnection; ProtocolError beyond `interfaces`' bounds."""
        run = self.runs.setdefault(hello.run, AgentRun(hello))
        run.is_new_life |= hello.down_until_ns != run.hello.down_until_ns
        run.hello = hello
        run.follow(hello)
        self.set_interfaces(run, hello.interfaces)
        run.connected, run.reason, run.ended, run.capturing = True, "", False, hello.capturing
        self._forget_old_runs()
        return run

    def end_of_gap(self, run: AgentRun, now_ns: int, *, since_ns: int) -> Gap | None:
        """A run came, or came back: the time in which nothing was heard of its agent, if there was one.

        A run that was away before `since_ns`, when this hub was started, has that in the hub's own gap.
        """
        left_ns, run.left_ns = run.left_ns, 0
        if run.is_new_life:
            run.is_new_life, hello = False, run.hello
            return Gap(what="agent", agent=hello.agent, start_ns=hello.down_since_ns, end_ns=hello.down_until_ns)
        what: Literal["agent", "connection"] = "connection"
        if not left_ns:
            before = [r for r in list(self.runs.values()) if r.left_ns and r.hello.agent == run.hello.agent]
            left_ns, what = max((r.left_ns for r in before), default=0), "agent"
            for other in before:
                other.left_ns = 0
        elif left_ns < since_ns:
            return None
        return Gap(what=what, agent=run.hello.agent, start_ns=left_ns, end_ns=now_ns) if left_ns else None

    def set_interfaces(self, run: AgentRun, interfaces: tuple[InterfaceInfo, ...]) -> None:
        """The agent's interfaces changed; frames that follow refer to the new list."""
        run.iface_codes, run.link_types = self._interfaces.register(run.hello, interfaces)
        run.interfaces = interfaces

    def register_interfaces(
        self, hello: Hello, infos: tuple[InterfaceInfo, ...]
    ) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.int32]]:
        """Codes and link types of an agent's interfaces; those not seen before get a code."""
        return self._interfaces.register(hello, infos)

    def described_interfaces(self) -> list[CaptureInterface]:
        """What capture files say of each of `interfaces`."""
        return self._interfaces.described(list(self.runs.values()))

    def _forget_old_runs(self) -> None:
        gone = [run for run in list(self.runs.values()) if not run.connected]
        gone.sort(key=lambda run: run.left_ns)  # those that ended first: who is away may come back
        characters = [characters_of(run.hello, run.interfaces) for run in gone]
        most = sum(characters)
        for count, (run, its) in enumerate(zip(gone, characters, strict=True)):
            if len(gone) - count <= MAX_GONE_RUNS and most <= MAX_GONE_CHARACTERS:
                break
            most -= its
            self.forgotten_runs += 1
            del self.runs[run.hello.run]
            self.merge.forget(run.hello.run)

    def ingest(
        self,
        run: AgentRun,
        batch: Frames | ColumnBatch,
        sequence: int,
        counters: dict[str, int],
        now_ns: int | None = None,
    ) -> None:
        """Take one checked batch, which came in at `now_ns` (Unix time): count it, dissect it into the ring, let the
        rules see it. Where several agents are at work, it waits for `release` in between; without a time it does not.
        """
        if len(batch) and int(batch.iface.max()) >= len(run.link_types):
            raise ProtocolError(f"batch {sequence} names an interface that was not declared")
        run.count(batch.iface, batch.orig_len)
        run.merge_offset_ns = run.offset_ns
        self.holding = self.holding or self._is_merging
        self._take(run, Piece(batch, run.link_types, run.iface_codes), self._see, now_ns)
        run.taken = sequence
        run.counters = counters

    def restore(self, run: AgentRun, piece: Piece, arrived_ns: int) -> None:
        """Take a batch that an earlier hub took, as it comes from the journal. Rules do not see it: what they had to
        say of it was said then."""
        if len(piece.content) and int(piece.content.iface.max()) >= len(piece.link_types):
            raise ProtocolError("a batch names an interface that was not declared")
        self._take(run, piece, self._roll_up, arrived_ns)

    def adopt(self, packets: Packets, interfaces: Sequence[Interface]) -> None:
        """Take a block that was read back from a file, with the numbers it has; its `iface` is indexed by these."""
        packets.columns.iface[:] = self._interfaces.adopt(interfaces)[packets.columns.iface]
        self._roll_up(self.ring.adopt(packets))
        self.packets += packets.length
        self.bytes += int(packets.columns.orig_len.sum(dtype=np.int64))
        self.first_ts = self.first_ts or int(packets.columns.ts[0])
        self.last_ts = int(packets.columns.ts[-1])

    def note_trouble(self, what: str) -> None:
        """In the handler of an exception that nobody expected: say what it did, and why once in the log."""
        if self.trouble != what:
            self.trouble = what
            log.exception("session %s: %s", self.name, what)

    def release(self, now_ns: int) -> int | None:
        """Let packets go on that have waited for those of other agents for long enough; returns up to which key they
        went, None if nothing changed."""
        if not self.holding:
            return None
        try:
            return self._release(now_ns)
        except Exception:
            self._lose_waiting()
            return _END_OF_TIME

    def _lose_waiting(self) -> None:
        """In the handler of an exception: what waits cannot be merged."""
        self.note_trouble("Packets of several agents could not be merged; those that waited are lost.")
        self.failed += self.merge.rows
        self.merge.clear()

    def _release(self, now_ns: int) -> int | None:
        self.holding = self._is_merging
        until_ns = now_ns - WINDOW_NS
        if not self.holding or self.merge.is_ahead_of(now_ns):  # nobody waits for a clock that was set back
            until_ns = _END_OF_TIME
        elif self.merge.waiting_bytes > MAX_WAITING_BYTES:
            until_ns = now_ns
        else:
            newest = [self.merge.newest(key) for key, run in list(self.runs.items()) if run.is_feeding]
            until_ns = max(until_ns, min(newest, default=until_ns))
        waited = self.merge.rows
        self._go_on(until_ns, self._see)
        return until_ns if self.merge.rows < waited or not self.holding else None

    def release_again(self, until_ns: int, *, holding: bool) -> None:
        """Do as an earlier hub did, where `release` returned this."""
        self._go_on(until_ns, self._roll_up)
        self.holding = holding

    def pass_over(self, until_ns: int) -> None:
        """Of a session that is read back: packets with keys up to there are gone, like those that they took turns with;
        those that follow have the numbers that they had."""
        if self.merge.rows and self.ring.first == self.ring.end:
            rows = sum(len(piece.content) for piece in self.merge.take(until_ns))
            self.ring.begin_after(self.ring.end - 1 + rows, self.ring.cleared)

    @property
    def _is_merging(self) -> bool:
        return sum(run.is_feeding for run in list(self.runs.values())) > 1

    def _take(self, run: AgentRun, piece: Piece, see: Callable[[BlockView], None], now_ns: int | None) -> None:
        content = piece.content
        rows = len(content)
        if now_ns is None or run.hello.source == "replay" or not rows:  # the time of a file has nothing to do with now
            self._store(piece, see)
        elif self.holding:
            self.merge.put(run.hello.run, piece, offset_ns=run.merge_offset_ns, arrived_ns=now_ns)
        else:
            self._store(piece, see)
            last = int(content.ts[-1])
            self.merge.passed(run.hello.run, last, offset_ns=run.merge_offset_ns, arrived_ns=now_ns)
        self.packets += rows
        self.bytes += int(content.orig_len.sum(dtype=np.int64))
        run.packets += rows

    def _go_on(self, until_ns: int, see: Callable[[BlockView], None]) -> None:
        try:
            pieces = self.merge.take(until_ns)
        except Exception:
            self._lose_waiting()
            return
        for piece in pieces:
            end = self.ring.end
            try:
                self._store(piece, see)
            except Exception:
                # What is in it was checked as it came in; whose it is cannot be told any more.
                self.note_trouble("Packets could not be dissected; they are lost.")
                self.failed += len(piece.content) - (self.ring.end - end)

    def _store(self, piece: Piece, see: Callable[[BlockView], None]) -> None:
        content, link_types, iface_codes = piece
        if isinstance(content, Frames):
            self.ring.append(content, link_types, iface_codes, see)
        else:
            self.ring.append_columns(content, iface_codes, see)
        if len(content):
            self.first_ts = self.first_ts or int(content.ts[0])
            self.last_ts = int(content.ts[-1])

    def _see(self, view: BlockView) -> None:
        self._roll_up(view)
        self.alerts.take(*view, self.interfaces)

    def _roll_up(self, view: BlockView) -> None:
        packets, start, stop = view
        columns = packets.columns
        rows = slice(start, stop)
        self.rollups.add(columns.ts[rows], columns.protocol[rows], columns.orig_len[rows], columns.tcp_problem[rows])

    def count_cleared(self, run: AgentRun, packets: int) -> None:
        """Into an empty session: a run had brought so many packets more, which were cleared."""
        self.packets += packets
        run.packets += packets
        self.ring.begin_after(self.packets, self.ring.cleared + packets)

    def begin_after(self, packets: int, cleared: int) -> None:
        """Go on numbering, in a new session, after packets that are gone: evicted, but for those that were cleared."""
        self.packets = packets
        self.ring.begin_after(packets, cleared)

    def clear(self) -> None:
        """Throw away all packets (counted as cleared), rollups, conversations, alerts. Runs on the ingest worker."""
        self.alerts.clear()
        self.clear_packets()

    def clear_packets(self) -> None:
        """All of it but the alerts."""
        self.ring.cleared += self.merge.rows
        self.merge.clear()
        self.ring.clear()
        self.rollups.clear()
        self.matches.clear()
        self.summaries.clear()
        self.first_ts = self.last_ts = 0

    def tick_alerts(self, now_s: float) -> None:
        """Let time go on for the rules where no packets do it. Runs on the ingest worker, a few times a second.

        What is played from a file has a time of its own, which stands still until the file ends; and what an agent
        that lost its connection has seen is not known yet.
        """
        self.alerts.settle()
        runs = list(self.runs.values())
        active = [run for run in runs if run.connected and not run.ended]
        if not runs or self.merge.rows or any(run.taken < run.received for run in active):
            return
        if all(run.ended and run.taken >= run.received for run in runs):
            self.alerts.finish()
        elif active and all(run.hello.source != "replay" for run in active):
            self.alerts.tick(now_s)

    def mark_rate(self, now_s: float) -> None:
        """Note the totals at a moment of wall time, a few times a second; rates are made from these marks."""
        self._rate_marks.append((now_s, self.packets, self.bytes))
        while len(self._rate_marks) > 2 and now_s - self._rate_marks[0][0] > _RATE_SPAN_S:
            self._rate_marks.popleft()

    @property
    def moment(self) -> tuple[float, int]:
        """Something that changes a few times a second while packets come: what was found out at the same moment need
        not be found out again for somebody else."""
        end = self.ring.end
        return (self._rate_marks[-1][0], self.ring.cleared) if self._rate_marks else (0.0, end)

    @property
    def rates(self) -> tuple[float, float]:
        """Packets/s and bits/s taken over the last two seconds of wall time."""
        if len(self._rate_marks) < 2:
            return 0.0, 0.0
        (t0, packets0, bytes0), (t1, packets1, bytes1) = self._rate_marks[0], self._rate_marks[-1]
        span_s = max(t1 - t0, 1e-6)
        return (packets1 - packets0) / span_s, 8 * (bytes1 - bytes0) / span_s

    @property
    def state(self) -> SessionState:
        """What the session is doing; `reason` says why in words."""
        if self.recovering:
            return "waiting"
        if not self.wanted:
            return "stopped"
        if self.preparing and not self.packets:
            return "waiting"
        runs = list(self.runs.values())
        active = [r for r in runs if r.connected and not r.ended]
        if any(r.capturing or not r.reason for r in active):
            return "capturing"
        if active:
            return "waiting"
        return "ended" if runs and all(r.ended for r in runs) else "waiting"

    @property
    def source(self) -> str:
        """Where its packets come from: live, synthetic, replay; mixed; '' if nobody brought any."""
        sources = {run.hello.source for run in list(self.runs.values())}
        return sources.pop() if len(sources) == 1 else ("mixed" if sources else "")

    @property
    def reason(self) -> str:
        """Why nothing moves, or what is in the way; '' while packets may come."""
        return self.recovering or self._idle_reason or self._journal_problem or self._recording_problem

    @property
    def _recording_problem(self) -> str:
        return next((r.reason for r in list(self.recordings) if r.state == "waiting"), "")

    @property
    def _journal_problem(self) -> str:
        problem = self.journal().problem if self.journal else ""
        return problem and f"{problem} Packets come in, but would not survive a crash of the hub."

    @property
    def _idle_reason(self) -> str:
        runs = list(self.runs.values())
        if not self.wanted:
            return "Stopped. Packets seen so far are kept; start to go on."
        if self.preparing and not self.packets:
            return self.preparing
        if not runs:
            return "Waiting for an agent to connect."
        active = [r for r in runs if r.connected and not r.ended]
        if active:
            idle = [r.reason for r in active if r.reason]
            return idle[0] if len(idle) == len(active) else ""
        last = runs[-1]
        if all(r.ended for r in runs):
            return last.reason or "The capture is over."
        return f"Agent {last.hello.agent} is not connected. {last.reason}".strip()

    @property
    def lost(self) -> int:
        """Packets that were lost: by kernels, by full outboxes, with an agent or a hub that died."""
        return self.lost_in_hub_crash + sum(lost_by(run) for run in list(self.runs.values()))

    @property
    def left_out(self) -> int:
        """Packets that agents left out as they were told to: by sampling, by a rate."""
        runs = list(self.runs.values())
        return sum(run.counters.get(name, 0) for run in runs for name in ("sampled_out", "throttled"))

    def stats(self) -> dict[str, Any]:
        """What `GET /api/stream/:id/stats` answers; docs/protocol.md names every field."""
        runs = list(self.runs.values())
        packets_per_s, bits_per_s = self.rates
        return {
            "id": self.id,
            "name": self.name,
            "owner": self.owner,
            "state": self.state,
            "reason": self.reason,
            "source": self.source,
            "first": self.ring.first,
            "end": self.ring.end,
            "packets": self.packets,
            "bytes": self.bytes,
            "first_ts": self.first_ts,
            "last_ts": self.last_ts,
            "packets_per_s": packets_per_s,
            "bits_per_s": bits_per_s,
            "ring_bytes": self.ring.size_bytes,
            "ring_limit_bytes": self.ring.limit_bytes,
            "evicted": self.ring.evicted,
            "cleared": self.ring.cleared,
            "conversations": len(self.conversations),
            "conversations_forgotten": self.conversations.forgotten,
            "forgotten_agents": self.forgotten_runs,
            "late": self.merge.late,
            "late_in_rollup": int(self.rollups.late[0]),
            "lost": self.lost,
            "journal": (self.journal() if self.journal else JournalState(on=False)).stats(),
            "recordings": self._recording_stats(),
            "left_out": self.left_out,
            "alerts": self.alerts.counts(),
            "subscriptions": self.feeds.stats(),
            "agents": [r.stats() for r in runs],
        }

    def _recording_stats(self) -> dict[str, Any]:
        states = [r.state for r in list(self.recordings)]
        return {
            **{state: states.count(state) for state in ("recording", "waiting", "stopped", "failed")},
            "reason": self._recording_problem,
        }
