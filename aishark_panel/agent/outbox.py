"""Outbox: numbered batches that the hub has not acknowledged yet, bounded in bytes.

The capture thread puts, the connection takes; a batch stays until the hub holds it durably, so that after a broken
connection it can be sent again. With a spool the oldest batches move to disk once they have waited for SPOOL_AFTER_S,
or fill half the memory: while the hub keeps up nothing is written. Batches of an earlier life of the run come first.
Of those that it lost in a crash an empty one is sent, because numbers have no gaps.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

from aishark_panel.agent.run import Run
from aishark_panel.agent.tally import MAX_UNSPOOLED
from aishark_panel.wire.columnbatch import ColumnBatch
from aishark_panel.wire.frames import Frames
from aishark_panel.wire.messages import Batch, CodecName

__all__ = ["DEFAULT_OUTBOX_BYTES", "SPOOL_AFTER_S", "Outbox"]

log = logging.getLogger(__name__)

DEFAULT_OUTBOX_BYTES: Final = 64 * 2**20
SPOOL_AFTER_S: Final = 0.5
"""How long a batch is in memory only: what a kill of the agent can cost."""
_RETRY_S: Final = 2.0
"""How soon a disk that had no room is tried again."""
_IDLE_S: Final = 0.25
_EMPTY: Final = Frames.from_list([], [])


class _Held(NamedTuple):
    """A batch in memory."""

    packed: bytes
    rows: int
    put_s: float


class Outbox:
    """Batches [first_sequence, next_sequence) of one run: the older ones in its spool, the newer ones in memory."""

    def __init__(
        self,
        codec: CodecName,
        run: Run | None = None,
        *,
        limit_bytes: int = DEFAULT_OUTBOX_BYTES,
        compress_from_rows: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        run = run or Run()
        self._codec = codec
        self._limit_bytes = limit_bytes
        self._compress_from_rows = compress_from_rows
        self._clock = clock
        self._tally = run.tally
        self._spool = run.spool
        self._run = run
        self._unknown = dict(run.unknown)
        """batches in whose place empty ones are sent: those of an earlier life that are not here, with their packets as
        long as the hub may have them, and those that were given up"""
        self._memory: deque[_Held] = deque()
        self._changed = threading.Condition()
        self.next_sequence = run.tally["next_sequence"]
        """number the next batch will get"""
        self.first_sequence = run.tally["durable"] + 1
        self.size_bytes = 0
        """of the batches in memory"""
        self.trouble = ""
        """why nothing can be spooled, in words; '' while it can"""
        self._failing = False
        self._spooling = True

    @property
    def rows(self) -> int:
        """Packets that wait here, in memory or on disk."""
        return self._tally["outbox"] + self._tally["spooled"]

    @property
    def is_full(self) -> bool:
        """Whether the next batch would find no room."""
        return self.size_bytes >= self._limit_bytes or len(self._memory) >= MAX_UNSPOOLED

    @property
    def fill(self) -> float:
        """Share of the room that is taken, 0 to 1: of the spool, or of memory where nothing can be spooled."""
        if self.is_full:
            return 1.0
        if self._spool is None or self._failing:
            return self.size_bytes / self._limit_bytes
        return self._spool.fill

    def put(self, content: Frames | ColumnBatch, counters: dict[str, int]) -> None:
        """Number and pack one batch from the encoder; ask `is_full` first: the bound is exceeded by one batch at most.

        It carries the tally, with `counters` beside.
        """
        rows = len(content)
        codec: CodecName = self._codec if rows >= self._compress_from_rows else "none"
        self._tally.move(in_encoder=-rows, outbox=rows)
        packed = Batch.pack(self.next_sequence, content, codec, counters | self._tally.counters())
        self._tally.made(self.next_sequence, rows)
        with self._changed:
            self._memory.append(_Held(packed, rows, self._clock()))
            self.next_sequence += 1
            self.size_bytes += len(packed)
            if self._spool and self._is_crowded:
                self._changed.notify_all()

    def get(self, sequence: int) -> bytes | None:
        """The packed batch of that number, if it is in memory."""
        with self._changed:
            index = sequence - self._memory_first
            here = 0 <= index < len(self._memory) and sequence not in self._unknown
            return self._memory[index].packed if here else None

    def is_older(self, sequence: int) -> bool:
        """Whether that batch is here, but not in memory, or given up: `load` gives it."""
        with self._changed:
            return self.first_sequence <= sequence < self._memory_first or sequence in self._unknown

    def load(self, sequence: int, counters: Callable[[], dict[str, int]]) -> bytes:
        """A batch that is not in memory. Reads the disk; an empty batch, with the `counters`, where it is lost."""
        packed = self._spool.read(sequence) if self._spool and sequence not in self._unknown else None
        if packed is not None:
            return packed
        with self._changed:
            rows = self._spool.rows(sequence) if self._spool and sequence not in self._unknown else 0
            if rows and self.first_sequence <= sequence:
                self._tally.write_off(sequence, spooled=-rows, dropped_spool_unreadable=rows)
                self._unknown[sequence] = 0
        return Batch.pack(sequence, _EMPTY, "none", counters())

    def settle(self, taken: int) -> None:
        """The hub has batches up to `taken`, in memory at least: those behind it that are not here are lost."""
        with self._changed:
            for sequence, rows in self._unknown.items():
                if sequence > taken and rows:
                    self._tally.write_off(sequence, outbox=-rows, lost_in_agent_crash=rows)
                    self._unknown[sequence] = 0

    def give_up(self, sequence: int) -> int:
        """The hub does not want that batch: an empty one goes in its place, so that those behind it get there. Returns
        how many packets that costs. Writes to the disk."""
        self._run.remember_given_up(sequence)  # first: a batch that waits in the spool must not come back
        with self._changed:
            if sequence in self._unknown or not self.first_sequence <= sequence < self.next_sequence:
                return 0
            index = sequence - self._memory_first
            if index >= 0:
                held = self._memory[index]
                rows, place = held.rows, "outbox"
                self._memory[index] = held._replace(rows=0)
            else:
                rows, place = self._spool.rows(sequence) if self._spool else 0, "spooled"
            self._tally.write_off(sequence, **{place: -rows}, dropped_refused=rows)
            self._unknown[sequence] = 0
        return rows

    def release(self, durable: int) -> None:
        """Forget the batches up to `durable`: the hub holds them safely."""
        with self._changed:
            durable = min(durable, self.next_sequence - 1)
            if durable < self.first_sequence:
                return
            outbox = spooled = 0
            for sequence in range(self.first_sequence, min(durable + 1, self._memory_first)):
                if sequence in self._unknown:
                    outbox += self._unknown.pop(sequence)
                elif self._spool:
                    spooled += self._spool.rows(sequence)
            while self._memory and self._memory_first <= durable:
                self._unknown.pop(self._memory_first, None)
                outbox += self._pop().rows
            self._tally.delivered(durable, outbox=outbox, spooled=spooled)
            self.first_sequence = durable + 1
            self._changed.notify_all()
        if self._spool:
            self._spool.forget(durable)

    def drop_all(self) -> int:
        """Give up what is in memory, at the end; returns how many packets that costs."""
        with self._changed:
            rows = self._tally["outbox"]
            self._tally.move(outbox=-rows, dropped_at_exit=rows)
            self._memory.clear()
            self.size_bytes = 0
            self.first_sequence = self.next_sequence
        return rows

    def wait_for_room(self, timeout_s: float) -> bool:
        """Wait until the outbox is no longer full; False when the time is over first."""
        with self._changed:
            return self._changed.wait_for(lambda: not self.is_full, timeout_s)

    # The spool's own thread from here on.

    def keep_spooling(self) -> None:
        """Move to disk what is due, until `stop_spooling`."""
        while self._spooling:
            wait_s = self._due_s()
            if wait_s <= 0:
                wait_s = 0.0 if self._spool_oldest() else _RETRY_S if self._failing else _IDLE_S
            if wait_s > 0:
                with self._changed:
                    self._changed.wait_for(self._may_spool_now, wait_s)

    def stop_spooling(self) -> None:
        """End `keep_spooling` in the other thread."""
        with self._changed:
            self._spooling = False
            self._changed.notify_all()

    def _may_spool_now(self) -> bool:
        assert self._spool is not None
        return not self._spooling or (self._is_crowded and not self._failing and not self._spool.is_full)

    def spool_all(self) -> int:
        """Move everything to disk, at the end; returns how many packets found no room there."""
        while self._memory and self._spool_oldest():
            pass
        return sum(held.rows for held in self._memory)

    def _due_s(self) -> float:
        with self._changed:
            if not self._memory:
                return _IDLE_S
            if self._is_crowded:
                return 0.0
            return self._memory[0].put_s + SPOOL_AFTER_S - self._clock()

    def _spool_oldest(self) -> bool:
        """Move one batch to disk; False where there is no room for it."""
        assert self._spool is not None
        with self._changed:
            if not self._memory:
                return True
            sequence, held = self._memory_first, self._memory[0]
        if self._spool.is_full:
            self._say(f"the spool is full with {self._spool.size_bytes:,} bytes")
            return False
        try:
            self._spool.append(sequence, held.packed, held.rows)
        except OSError as error:
            self._failing = True
            self._say(f"the spool cannot be written: {error.strerror or error}")
            return False
        self._failing = False
        self._say("")
        with self._changed:
            if self._memory and self._memory_first == sequence:
                rows = self._memory[0].rows  # none, if it was given up meanwhile
                self._tally.move(outbox=-rows, spooled=rows)
                self._pop()
                self._changed.notify_all()
        self._spool.forget(self.first_sequence - 1)  # if the hub got it meanwhile
        return True

    def _say(self, trouble: str) -> None:
        if trouble and not self.trouble:
            log.warning("%s: what memory has no room for will be lost, and counted", trouble)
        elif self.trouble and not trouble:
            log.warning("the spool has room again")
        self.trouble = trouble

    @property
    def _memory_first(self) -> int:
        return self.next_sequence - len(self._memory)

    @property
    def _is_crowded(self) -> bool:
        return self.size_bytes >= self._limit_bytes // 2 or len(self._memory) >= MAX_UNSPOOLED // 2

    def _pop(self) -> _Held:
        held = self._memory.popleft()
        self.size_bytes -= len(held.packed)
        return held
