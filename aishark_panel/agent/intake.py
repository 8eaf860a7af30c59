"""Intake: what a source reads is limited, cut, gathered into batches and put into the outbox; the tally follows.

On the capture thread alone, and nothing here is done for each packet in Python. When the outbox is full, packets that
cannot be asked for again are dropped and counted.
"""

import time
from collections.abc import Callable

from aishark_panel.agent.encode import BatchLimits, Encoder
from aishark_panel.agent.limits import Limiter
from aishark_panel.agent.outbox import Outbox
from aishark_panel.agent.payload import Payload
from aishark_panel.agent.places import Places
from aishark_panel.agent.scope import CaptureScope
from aishark_panel.agent.tally import Tally
from aishark_panel.agent.thinning import Thinning
from aishark_panel.wire.frames import Frames

__all__ = ["Intake"]


class Intake:
    """The way of an agent's packets from its source to its outbox.

    `counters()` is what batches tell beside the tally, `on_batch()` is called when one more waits in the outbox.
    """

    def __init__(
        self,
        scope: CaptureScope,
        limits: BatchLimits,
        outbox: Outbox,
        tally: Tally,
        places: Places,
        *,
        counters: Callable[[], dict[str, int]],
        on_batch: Callable[[], None],
    ) -> None:
        self._outbox = outbox
        self._tally = tally
        self._places = places
        self._counters = counters
        self._on_batch = on_batch
        self._encoder = Encoder(limits)
        self._batch_rows = limits.max_rows
        self._limiter = Limiter()
        self._thinning = Thinning()
        self._scope = scope
        self._limit()
        self._payload = self.prepare(scope)
        self.drops = True
        """whether packets that find no room are dropped: those of a file can wait in it"""

    @property
    def sampling(self) -> int:
        """Every how many-th packet, or conversation, is sent."""
        return self._scope.sampling * self._thinning.factor

    def due_s(self, otherwise_s: float) -> float:
        """Seconds until `poll` has something to do; `otherwise_s` while nothing waits."""
        return self._encoder.due_s(time.monotonic()) if self._encoder.rows else otherwise_s

    def prepare(self, scope: CaptureScope) -> Payload:
        """What the scope's payload policy needs; it may have to be compiled first."""
        if scope is not self._scope and scope.payload == self._payload.policy:
            return self._payload
        return Payload(scope.payload, batch_rows=self._batch_rows)

    def follow(self, scope: CaptureScope, payload: Payload) -> None:
        """Another scope from now on, with what `prepare` gave for it."""
        if payload is not self._payload:
            self.flush()  # what waits for company came under the policy before
            self._payload = payload
        if scope != self._scope:
            self._scope = scope
            self._limit()

    def thin(self) -> bool:
        """Send less while there is little room, and more again later; whether that changed the sampling."""
        if changed := self._thinning.follow(self._outbox.fill, time.monotonic()):
            self._limit()
        return changed

    def take(self, frames: Frames) -> None:
        """The source's frames came in."""
        link_types = self._places.link_types
        sampled_out, throttled = self._limiter.sampled_out, self._limiter.throttled
        passed = self._limiter.take(self._places.renumber(frames), link_types)
        self._tally.move(
            captured=len(frames),
            sampled_out=self._limiter.sampled_out - sampled_out,
            throttled=self._limiter.throttled - throttled,
            in_encoder=len(passed),
        )
        for batch in self._encoder.add(self._payload.cut(passed, link_types), time.monotonic()):
            self._put(batch)

    def poll(self) -> None:
        """Let the open batch go, if it is old enough."""
        if (aged := self._encoder.poll(time.monotonic())) is not None:
            self._put(aged)

    def flush(self) -> None:
        """Let the open batch go."""
        if (rest := self._encoder.flush()) is not None:
            self._put(rest)

    def _limit(self) -> None:
        self._limiter.set(
            sampling=self.sampling,
            by_conversation=self._scope.sampling_by == "conversation",
            packets_per_s=self._scope.max_packets_per_second,
            bits_per_s=self._scope.max_bits_per_s,
        )

    def _put(self, batch: Frames) -> None:
        if self.drops and self._outbox.is_full:
            self._tally.move(in_encoder=-len(batch), dropped_outbox_full=len(batch))
            return
        for content in self._payload.contents(batch, self._places.link_types):
            self._outbox.put(content, self._counters())
        self._on_batch()
