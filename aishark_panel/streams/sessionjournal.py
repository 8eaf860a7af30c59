"""What of a session goes into its journal: batches as they were taken, and what is needed to understand them.

All of it happens on the ingest worker, right behind the session's own counters, so that the totals at the head of each
segment are exactly those of the batches before it.
"""

import time

import msgspec

from aishark_panel.streams.agentrun import AgentRun
from aishark_panel.streams.journal import Entry, Journal, JournalLog, Moved
from aishark_panel.streams.journalstate import JournalState
from aishark_panel.streams.segments import (
    SEGMENT_BYTES,
    ClearMark,
    Gap,
    Kind,
    MergeNote,
    RunNote,
    Totals,
    encode_note,
)
from aishark_panel.streams.session import Session
from aishark_panel.wire.messages import Batch, Hello, InterfaceInfo

__all__ = ["SessionJournal"]


class SessionJournal:
    """Writes one session down. `moved` is told of durable batches, on the journal's thread."""

    def __init__(self, session: Session, journal: Journal, moved: Moved) -> None:
        self._session = session
        self._journal = journal
        self._log: JournalLog = journal.open(session.id, moved)
        self._segment_bytes = 0
        """given to the segment that is open; 0: none is"""
        self._bytes = 0
        """bytes on the wire of all packets but those of the batch that is being written down"""
        self._counters: dict[str, dict[str, int]] = {}
        """what each run told with the batch before that"""
        self._told: dict[str, tuple[Hello, tuple[InterfaceInfo, ...], int]] = {}
        """what the open segment says of each run"""
        self._holding = False
        """whether batches wait to be merged, as the journal has it"""
        session.condition.journal = self.state

    def state(self) -> JournalState:
        """How it fares now."""
        journal = self._journal
        log = self._log
        return JournalState(log.problem, log.disk_bytes, journal.waiting_bytes, log.safe_packets + 1, self.is_behind)

    @property
    def is_behind(self) -> bool:
        """Whether agents should wait for the disk."""
        return not self._log.problem and self._journal.is_behind

    @property
    def is_failing(self) -> bool:
        """Whether the disk takes nothing at the moment."""
        return bool(self._log.problem)

    def go_on(self) -> None:
        """The session is back: what comes now follows what it has."""
        self._bytes = self._session.bytes
        self._holding = self._session.holding
        self.mark()

    def mark(self) -> None:
        """The journal was given all that the ring has. Once that is safe, so are the packets and their numbers."""
        if not any(run.unjournalled for run in self._session.runs):
            self._journal.mark(self._log, self._session.ring.end - 1)

    def batch(self, run: AgentRun, batch: Batch, now_ns: int) -> bool:
        """Write down a batch that has just come into the session, at a time; False where there is no room for it: it
        has to come `again`."""
        run.unjournalled += batch.rows
        self._counters.setdefault(run.hello.run, {})
        in_hand = run.hello.run if batch.rows else ""
        written = self._write_if_next(run, batch, now_ns, in_hand)
        self._bytes, self._counters[run.hello.run] = self._session.bytes, batch.counters
        return written

    def again(self, run: AgentRun, batch: Batch, now_ns: int) -> bool:
        """A batch that the session has came again: write it down if that is still to be done. As `batch`."""
        return batch.sequence <= run.journalled or self._write_if_next(run, batch, now_ns)

    def _write_if_next(self, run: AgentRun, batch: Batch, now_ns: int, in_hand: str = "") -> bool:
        """`in_hand` is the run's id if the batch may still wait to be merged."""
        if batch.sequence != run.journalled + 1 or (self._log.problem and self._journal.is_full):
            return False
        entries = (
            self._segment_head(in_hand) if self._segment_bytes == 0 or self._segment_bytes >= SEGMENT_BYTES else []
        )
        known = self._told.get(run.hello.run)
        if known is None or known[0] is not run.hello or known[1:] != (run.interfaces, run.merge_offset_ns):
            entries.append(self._run_entry(run))
        if self._holding != self._session.holding:
            entries.append(self._merge_entry(0))
        entry = Entry(Kind.BATCH, batch.envelope, now_ns, run=run.hello.run, sequence=batch.sequence)
        self._put([*entries, entry])
        run.journalled = batch.sequence
        run.unjournalled -= batch.rows if batch.sequence > run.cleared else 0
        if run.unjournalled and run.journalled == run.taken:
            # The agent was killed, or given another session, before it could send these again: the next hub, which will
            # not have them, is to know that they are lost.
            run.unjournalled = 0
            self._counters[run.hello.run] = batch.counters
            self._put([self._run_entry(run)])
        return True

    def released(self, until_ns: int) -> None:
        """Packets that waited to be merged went on."""
        self._put([*self._head_if_none(), self._merge_entry(until_ns)])

    def _merge_entry(self, until_ns: int) -> Entry:
        self._holding = self._session.holding
        return Entry(Kind.MERGE, encode_note(MergeNote(until_ns=until_ns, holding=self._holding)), time.time_ns())

    def note(self, run: AgentRun) -> None:
        """The run ended, or a batch of it was refused."""
        if self._segment_bytes:
            self._counters[run.hello.run] = run.counters
            self._put([self._run_entry(run)])

    def clear(self) -> None:
        """The user threw all packets away. Those that are not written down yet need not be: the mark counts them."""
        session = self._session
        if not (self._segment_bytes or session.packets):
            return
        head = self._head_if_none()
        runs = list(session.runs)
        head += [self._run_entry(run) for run in runs if run.hello.run not in self._told]
        for run in runs:
            run.cleared, run.unjournalled = run.taken, 0
        mark = ClearMark(
            packets={run.hello.run: run.packets + run.lost_in_hub_crash for run in runs}, bytes=session.bytes
        )
        notes = [self._run_entry(run) for run in runs]
        self._put([*head, Entry(Kind.CLEAR, encode_note(mark), time.time_ns()), *notes])

    def gap(self, gap: Gap) -> None:
        """Nothing was heard for a while."""
        self._put([*self._head_if_none(), Entry(Kind.GAP, encode_note(gap), time.time_ns())])

    def forget(self) -> None:
        """The session was deleted."""
        self._journal.forget(self._log)

    def _head_if_none(self) -> list[Entry]:
        return [] if self._segment_bytes else self._segment_head()

    def _segment_head(self, in_hand: str = "") -> list[Entry]:
        """Begin a segment: what came before it, and the runs there are."""
        session = self._session
        runs = list(session.runs)
        totals = Totals(
            packets=session.packets - sum(run.unjournalled for run in runs),
            bytes=self._bytes,
            cleared=session.ring.cleared,
            lost=session.lost_in_hub_crash,
            first_ts=session.first_ts,
            holding=self._holding,
            waiting_until_ns=session.merge.newest_waiting(but=in_hand),
        )
        self._segment_bytes = 0
        self._told.clear()
        self._counters = {key: told for key, told in self._counters.items() if session.runs.get(key)}
        head = Entry(Kind.TOTALS, encode_note(totals), time.time_ns(), begins_segment=True)
        return [head, *(self._run_entry(run) for run in runs)]

    def _run_entry(self, run: AgentRun) -> Entry:
        self._told[run.hello.run] = run.hello, run.interfaces, run.merge_offset_ns
        note = RunNote(
            hello=msgspec.structs.replace(run.hello, counters={}),
            interfaces=run.interfaces,
            sequence=run.journalled,
            packets=run.packets - run.unjournalled,
            lost=run.lost_in_hub_crash,
            cleared=run.cleared,
            rejected=dict(run.rejected),
            rejected_batches=run.rejected_batches,
            refused=run.refused,
            counters=self._counters.get(run.hello.run, run.counters),
            ended=run.ended,
            reason=run.reason,
            offset_ns=run.merge_offset_ns,
        )
        return Entry(Kind.RUN, encode_note(note), time.time_ns())

    def _put(self, entries: list[Entry]) -> None:
        self._journal.put(self._log, entries)
        self._segment_bytes += sum(entry.size_bytes for entry in entries)
