"""Recovery: a session as it was, read back from its journal after the hub was restarted.

First the *marks*, before any agent may connect: which runs there are, and the last batch of each that is safe. They are
in the newest segment. Then, in the background, every batch goes through the path that new ones take, but for the rules.

What is damaged is left out and counted: a segment says at its head what came before it, so the next one tells how much
is missing.
"""

import logging
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from aishark_panel.errors import ProtocolError
from aishark_panel.streams.agentrun import AgentRun
from aishark_panel.streams.merge import Piece
from aishark_panel.streams.segments import (
    ClearMark,
    Gap,
    Kind,
    MergeNote,
    Record,
    RunNote,
    Totals,
    began_ns,
    decode_note,
    read_segment,
    segments_of,
)
from aishark_panel.streams.session import Session
from aishark_panel.wire.messages import Batch

__all__ = ["Recovery"]

log = logging.getLogger(__name__)

_STEP_BYTES: Final = 8 * 2**20
_STEP_ROWS: Final = 16_384
"""So much is read back in one go; sessions take turns in between, and recordings read along."""
_RESTARTED: Final = "The hub was restarted; the agent has not come back yet."


@dataclass(slots=True)
class _Run:
    """A run as its latest note describes it."""

    run: AgentRun
    codes: npt.NDArray[np.uint16]
    link_types: npt.NDArray[np.int32]
    sequence: int
    """of the last batch that was read back, or is known to be gone"""
    counters: dict[str, int] = field(default_factory=dict)


class Recovery:
    """Brings one session back from its folder. `died_ns`: when the last hub was alive, `now_ns`: now (Unix time)."""

    def __init__(
        self, session: Session, folder: Path, *, died_ns: int, now_ns: int, arrived: tuple[int, int] | None = None
    ) -> None:
        """Reads the marks: the session then has its runs. Never raises; what cannot be read is said in the log.

        With `arrived`, only segments are read back that may hold what came in from that time on, and until then.
        """
        self._session = session
        self._died_ns, self._now_ns = died_ns, now_ns
        self.gap: Gap | None = None
        """the time without a hub, if anything was being captured"""
        self._runs: dict[str, _Run] = {}
        self._passed_ns = -(2**63)
        """packets with keys up to there took turns with some whose segment is gone; their numbers are not known"""
        self._at_first_head = False
        """whether what was read last are the first totals, and the runs they count"""
        self._paths = self._segments(folder)
        if arrived is not None:
            self._paths = _written_within(self._paths, *arrived)
        self.total_bytes = sum(path.stat().st_size for path in self._paths)
        self.done_bytes = 0
        """bytes of the journal that are read"""
        if self._paths:
            session.condition.recovering = "Reading packets back from the journal."
            self._read_marks()

    def _segments(self, folder: Path) -> list[Path]:
        try:
            return [path for _, path in segments_of(folder)]
        except FileNotFoundError:
            return []
        except OSError as error:
            log.error("the journal of session %s cannot be read: %s", self._session.name, error)
            return []

    def _records(self, path: Path) -> list[Record]:
        """The records of a segment; what is behind the last whole one was torn by a crash, or damaged since."""
        try:
            segment = read_segment(path)
        except OSError as error:
            log.error("%s cannot be read: %s", path, error)
            return []
        if segment.whole_bytes < segment.size_bytes:
            log.warning("%s: %d of %d bytes are whole", path, segment.whole_bytes, segment.size_bytes)
        return segment.records

    def _read_marks(self) -> None:
        """Take the runs from the newest segment that has batches: the head of one without may be torn."""
        runs = self._session.runs
        for path in reversed(self._paths):
            told = {run.hello.run for run in runs}  # by newer segments
            records = self._records(path)
            for record in records:
                if record.kind == Kind.RUN and (note := decode_note(record, RunNote)):
                    run = runs.add(AgentRun(note.hello))
                    run.go_on_after(note.sequence)
                    if note.hello.run not in told:
                        run.hello, run.interfaces = note.hello, note.interfaces
                        run.ended, run.reason = note.ended, note.reason
                elif record.kind == Kind.BATCH and (known := runs.get(record.run)):
                    known.go_on_after(record.sequence)
            if any(record.kind == Kind.BATCH for record in records):
                break
        for run in runs:
            if not run.ended:
                self.gap = Gap(what="hub", start_ns=self._died_ns, end_ns=self._now_ns)
            run.connected = False
            run.left_ns = 0 if run.ended else self._died_ns
            run.reason = run.reason if run.ended else _RESTARTED

    async def steps(self) -> AsyncIterator[Callable[[], object]]:
        """What is to be done, in pieces for the ingest worker; the rest is done here, on the event loop."""
        session = self._session
        pieces = self._pieces()
        ended = False

        def step() -> None:
            nonlocal ended
            ended = next(pieces, None) is None

        while not ended:
            yield step
            share = min(1.0, self.done_bytes / max(self.total_bytes, 1))
            session.condition.recovering = f"Reading packets back from the journal: {share:.0%}."
        for known in self._runs.values():
            run = known.run
            if run.refused and run.refused.sequence <= known.sequence:
                run.withdraw_refused()
            run.recovered = run.packets + sum(run.rejected.values())
            run.arrived += run.recovered
            if not run.connected:
                run.iface_codes, run.link_types, run.counters = known.codes, known.link_types, known.counters
        session.condition.recovering = ""

    def _pieces(self) -> Iterator[bool]:
        """Read all back, a pause after each piece."""
        ring = self._session.ring
        for path in self._paths:
            piece_bytes, end = 0, ring.end
            for record in self._records(path):
                self._take(record)
                piece_bytes += len(record.payload)
                if piece_bytes >= _STEP_BYTES or ring.end - end >= _STEP_ROWS:
                    self.done_bytes += piece_bytes
                    piece_bytes, end = 0, ring.end
                    yield True
            self.done_bytes += piece_bytes
            yield True

    def _take(self, record: Record) -> None:
        self._at_first_head = self._at_first_head and record.kind == Kind.RUN
        if record.kind == Kind.BATCH:
            self._take_batch(record)
        elif record.kind == Kind.TOTALS and (totals := decode_note(record, Totals)):
            self._take_totals(totals)
        elif record.kind == Kind.RUN and (note := decode_note(record, RunNote)):
            self._take_run(note)
        elif record.kind == Kind.CLEAR and (mark := decode_note(record, ClearMark)):
            self._take_mark(mark)
        elif record.kind == Kind.MERGE and (merged := decode_note(record, MergeNote)):
            self._session.pass_over(min(merged.until_ns, self._passed_ns))
            self._session.release_again(merged.until_ns, holding=merged.holding)
        elif record.kind == Kind.GAP and (gap := decode_note(record, Gap)):
            self._session.gaps.append(gap)

    def _take_totals(self, totals: Totals) -> None:
        session = self._session
        if not self._runs:
            session.begin_after(totals.packets, min(totals.cleared, totals.packets))
            session.bytes, session.first_ts = totals.bytes, totals.first_ts
            session.lost_in_hub_crash = totals.lost
            session.holding = totals.holding
            self._passed_ns = totals.waiting_until_ns
            self._at_first_head = True

    def _take_mark(self, mark: ClearMark) -> None:
        session = self._session
        session.clear_packets()  # what is kept of its alerts knows of it
        session.bytes = max(session.bytes, mark.bytes)
        for run_id, packets in mark.packets.items():
            run = session.runs.get(run_id)
            if run and (missing := packets - run.packets - run.lost_in_hub_crash) > 0:
                session.count_cleared(run, missing)

    def _take_run(self, note: RunNote) -> None:
        session = self._session
        run = session.runs.add(AgentRun(note.hello, connected=False, reason=_RESTARTED))
        try:
            codes, link_types = session.runs.interfaces.register(note.hello, note.interfaces)
        except ProtocolError as error:
            log.error("a run of session %s is left out: %s", session.id, error)
            return
        known = self._runs.get(note.hello.run)
        if known is None:
            known = self._runs[note.hello.run] = _Run(run, codes, link_types, note.sequence)
            if self._at_first_head:
                run.packets, run.lost_in_hub_crash = note.packets, note.lost
        known.codes, known.link_types, known.counters = codes, link_types, note.counters
        run.offset_ns = run.merge_offset_ns = note.offset_ns
        run.rejected, run.rejected_batches = dict(note.rejected), note.rejected_batches
        run.refused = note.refused
        if run.refused and run.rejected.get(run.refused.reason, 0) < run.refused.packets:
            run.refused = None
        missing = note.packets + note.lost - run.packets - run.lost_in_hub_crash
        if missing > 0:
            log.error("%d packets of session %s are lost", missing, session.id)
            run.lost_in_hub_crash += missing
            session.lost_in_hub_crash += missing
        known.sequence = max(known.sequence, note.sequence)
        run.cleared = max(run.cleared, note.cleared)

    def _take_batch(self, record: Record) -> None:
        known = self._runs.get(record.run)
        if known is None or record.sequence <= known.sequence:
            return  # written again after a sync that failed
        session = self._session
        try:
            batch = Batch.unpack(bytes(record.payload))
            if record.sequence > known.run.cleared:
                session.restore(known.run, Piece(batch.content(), known.link_types, known.codes), record.at_ns)
            known.counters = batch.counters
        except ProtocolError as error:
            log.error("batch %d in the journal of session %s: %s", record.sequence, session.id, error)
        known.sequence = record.sequence


def _written_within(paths: list[Path], start_ns: int, end_ns: int) -> list[Path]:
    """Of segments, oldest first, those that were being written in a time."""
    began = [began_ns(path) or 0 for path in paths]
    first = max(0, sum(each <= start_ns for each in began) - 1)
    return [path for path, each in zip(paths[first:], began[first:], strict=True) if each < end_ns]
