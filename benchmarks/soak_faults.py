"""What breaks in a soak. Each fault is a context: it lasts as long as that, and its end puts it right."""

import asyncio
import contextlib
import itertools
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator

from aishark_panel.client import HubClient, Missed
from benchmarks.soak_world import Disk, Member, Network

__all__ = ["Fault", "Faults"]

Fault = Callable[[], contextlib.AbstractAsyncContextManager[None]]


class Faults:
    """All there are, by name. `connect` makes a client of the hub, `session` names one with much traffic."""

    KILLS = ("hub killed", "agent killed")

    def __init__(
        self, hub: Member, agent: Member, network: Network, disk: Disk, connect: Callable[[], HubClient], session: str
    ) -> None:
        self._hub, self._agent = hub, agent
        self._connect, self._session = connect, session
        self.readers: Counter[str] = Counter()
        """packets that slow readers took, missed and were told so, or missed without a word (unexplained)"""
        self._all: dict[str, Fault] = {
            "hub killed": lambda: self._killed(hub),
            "agent killed": lambda: self._killed(agent),
            "network stalls": lambda: network.fault("stalls"),
            "network drops": lambda: network.fault("drops"),
            "network delays": lambda: network.fault("delays"),
            "network trickles": lambda: network.fault("trickles"),
            "disk full": disk.full,
            "slow readers": self._slow_readers,
            "hub stopped": self._stopped,
        }

    def in_turns(self) -> Iterator[tuple[str, Fault]]:
        """One after the other, for ever."""
        return itertools.cycle(self._all.items())

    @contextlib.asynccontextmanager
    async def _killed(self, member: Member) -> AsyncIterator[None]:
        member.kill()
        try:
            yield
        finally:
            member.start()

    @contextlib.asynccontextmanager
    async def _stopped(self) -> AsyncIterator[None]:
        self._hub.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._hub.signal(signal.SIGCONT)

    @contextlib.asynccontextmanager
    async def _slow_readers(self) -> AsyncIterator[None]:
        awake = asyncio.Event()
        readers = [asyncio.create_task(self._read_slowly(awake)) for _ in range(3)]
        try:
            yield
        finally:
            awake.set()
            for found in await asyncio.gather(*readers, return_exceptions=True):
                self.readers["failed"] += isinstance(found, Exception)

    async def _read_slowly(self, awake: asyncio.Event) -> None:
        """Take one batch and then nothing until `awake`; afterwards each number must follow the one before, or lie
        behind what the hub says was missed."""
        async with self._connect() as client, contextlib.aclosing(client.subscribe(self._session)) as stream:
            expected, deadline_s = 0, float("inf")
            async for piece in stream:
                if isinstance(piece, Missed):
                    self.readers["missed"] += piece.packets
                    first, following = piece.first, piece.next
                elif piece.num_rows:
                    self.readers["taken"] += piece.num_rows
                    numbers = piece.column("number")
                    first, following = numbers[0].as_py(), numbers[-1].as_py() + 1
                else:
                    continue
                if expected:
                    self.readers["unexplained"] += abs(first - expected)
                else:
                    await awake.wait()
                    deadline_s = time.monotonic() + 5.0
                expected = following
                if time.monotonic() > deadline_s:
                    break
