"""A session: one capture run with its ring, rollups, conversations and the agents that feed it.

Everything is pure: frames and time come in as arguments. `ingest` is the hot path and runs on one worker thread at a
time; all else may be called from other threads while it runs.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from aishark_panel.alerts.log import AlertLog
from aishark_panel.alerts.rule import Rule
from aishark_panel.dissect.conversations import Conversations
from aishark_panel.errors import ProtocolError
from aishark_panel.streams.agentrun import AgentRun
from aishark_panel.streams.condition import Condition, SessionState
from aishark_panel.streams.feeds import Feeds
from aishark_panel.streams.losses import Losses
from aishark_panel.streams.manifest import Recorded
from aishark_panel.streams.matches import Matches
from aishark_panel.streams.merge import MAX_WAITING_BYTES, WINDOW_NS, Merge, Piece
from aishark_panel.streams.rates import Rates
from aishark_panel.streams.ring import BlockView, Ring
from aishark_panel.streams.rollups import Rollups
from aishark_panel.streams.runs import Runs
from aishark_panel.streams.segments import Gap
from aishark_panel.streams.summaries import Summaries
from aishark_panel.wire.columnbatch import ColumnBatch
from aishark_panel.wire.frames import Frames
from aishark_panel.wire.packets import Interface, Packets

__all__ = ["DEFAULT_RING_BYTES", "Session"]

DEFAULT_RING_BYTES: Final = 512 * 2**20
MAX_GAPS: Final = 1_000
"""The newest are remembered."""
_END_OF_TIME: Final = 2**63 - 1


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
        self.rollups = Rollups()
        self.matches = Matches()
        self.summaries = Summaries()
        self.feeds = Feeds()
        self.alerts = AlertLog(rules)
        self.runs = Runs(self.merge.forget)
        self.interfaces: list[Interface] = self.runs.interfaces.known
        """by their codes"""
        self.deleted = False
        """whether it is gone from the hub; who still reads it ends"""
        self.recordings: list[Recorded] = []
        """oldest first"""
        self.condition = Condition(name, self.runs, self.recordings)
        self.lost_in_hub_crash = 0
        """packets that an earlier hub had taken, and that went with it"""
        self.gaps: deque[Gap] = deque(maxlen=MAX_GAPS)
        """times in which nothing was heard, oldest first"""
        self.losses = Losses()
        self.packets = 0
        self.bytes = 0
        """bytes on the wire of all packets taken"""
        self.first_ts = 0
        self.last_ts = 0
        """packet time of the first and of the newest packet, ns; 0 before the first"""
        self.rates = Rates()

    @property
    def safe_end(self) -> int:
        """Packets before this number keep it: they survive a crash of the hub, or there is nothing to keep any."""
        end = self.ring.end
        journal = self.condition.journal()
        if not journal.on or journal.problem or self.condition.recovering:
            return end
        return min(journal.durable_end, end)

    @property
    def conversations(self) -> Conversations:
        """Who talked with whom so far."""
        return self.ring.dissector.conversations

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
        packets.columns.iface[:] = self.runs.interfaces.adopt(interfaces)[packets.columns.iface]
        self._roll_up(self.ring.adopt(packets))
        self.packets += packets.length
        self.bytes += int(packets.columns.orig_len.sum(dtype=np.int64))
        self.first_ts = self.first_ts or int(packets.columns.ts[0])
        self.last_ts = int(packets.columns.ts[-1])

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
        self.condition.note_trouble("Packets of several agents could not be merged; those that waited are lost.")
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
            newest = [self.merge.newest(run.hello.run) for run in self.runs if run.is_feeding]
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
        return sum(run.is_feeding for run in self.runs) > 1

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
                self.condition.note_trouble("Packets could not be dissected; they are lost.")
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
        runs = list(self.runs)
        active = [run for run in runs if run.is_active]
        if not runs or self.merge.rows or any(run.taken < run.received for run in active):
            return
        if all(run.ended and run.taken >= run.received for run in runs):
            self.alerts.finish()
        elif active and all(run.hello.source != "replay" for run in active):
            self.alerts.tick(now_s)

    @property
    def state(self) -> SessionState:
        """What the session is doing; `reason` says why in words."""
        return self.condition.state(has_packets=self.packets > 0)

    @property
    def reason(self) -> str:
        """Why nothing moves, or what is in the way; '' while packets may come."""
        return self.condition.reason(has_packets=self.packets > 0)
