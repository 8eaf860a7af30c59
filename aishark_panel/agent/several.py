"""The interfaces an agent captures on, one or several: one Source over a capture for each, read by one thread.

They take turns, so that a busy interface does not keep a quiet one waiting; the thread sleeps only while none has
packets. Packets keep the order of their own interface; between interfaces they come as they are read.

A capture that fails, because its interface is removed say, does not end the others: it is opened again, with back-off,
until its interface is back. The time without is a *gap*: it is told by `condition`, counted and logged.
"""

import contextlib
import logging
import selectors
import socket
import time
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from aishark_panel.agent.source import SourceInterface, SourceKind
from aishark_panel.errors import AisharkError
from aishark_panel.wire.frames import Frames

__all__ = ["InterfaceCapture", "Opener", "SeveralCaptures"]

log = logging.getLogger(__name__)

FIRST_RETRY_S: Final = 0.1
LAST_RETRY_S: Final = 5.0
"""First and longest wait before a lost interface is tried again; each wait is twice as long as the one before."""


class InterfaceCapture(Protocol):
    """A live capture of one interface (or of `any`): LiveCapture, LibpcapCapture."""

    interfaces: list[SourceInterface]
    condition: str
    """what is wrong, in words; '' while all is well"""
    interrupted: bool
    """whether it misses packets now"""
    poll_s: float
    """how often it wants to be asked, whatever its descriptor says; infinity: never"""

    def read(self, timeout_s: float) -> Frames | None:
        """As Source.read; CaptureError once the interface is gone."""

    def adjust(self, capture_filter: str, snaplen: int) -> None: ...
    def halt(self) -> None: ...
    def counters(self) -> dict[str, int]: ...
    def close(self) -> None: ...

    def fileno(self) -> int:
        """Readable when there are packets; -1 where there is no such descriptor."""


Opener = Callable[[str, str, int, int], InterfaceCapture]
"""Opens a capture: interface, capture filter, snaplen, `iface` of its frames."""


class _Member:
    """One interface: its capture, or why there is none."""

    def __init__(self, name: str, index: int, opener: Opener, capture_filter: str, snaplen: int) -> None:
        self.name = name
        self._index = index
        self._opener = opener
        self._scope = capture_filter, snaplen
        self.capture: InterfaceCapture | None = opener(name, capture_filter, snaplen, index)
        self.interfaces = self.capture.interfaces
        self.trouble = ""
        self.retry_at_s = 0.0
        self._wait_s = FIRST_RETRY_S
        self._closed: dict[str, int] = {}
        self._gaps = 0
        self._gap_began_s: float | None = None
        self._gap_s = 0.0

    @property
    def condition(self) -> str:
        return self.capture.condition if self.capture else self.trouble

    def counters(self, now_s: float) -> dict[str, int]:
        counts = dict(self._closed)
        for name, count in self.capture.counters().items() if self.capture else ():
            counts[name] = counts.get(name, 0) + count
        running_s = 0.0 if self._gap_began_s is None else now_s - self._gap_began_s
        return {**counts, "gaps": self._gaps, "gap_ms": int(1000 * (self._gap_s + running_s))}

    def adjust(self, capture_filter: str, snaplen: int) -> None:
        if self.capture:
            self.capture.adjust(capture_filter, snaplen)
            self.interfaces = self.capture.interfaces
        self._scope = capture_filter, snaplen

    def lose(self, error: AisharkError, now_s: float) -> None:
        """The capture failed; it is opened again at once and then ever less often."""
        assert self.capture
        for name, count in self.capture.counters().items():
            self._closed[name] = self._closed.get(name, 0) + count
        self.interfaces = self.capture.interfaces
        self.capture.close()
        self.capture = None
        self.trouble = str(error)
        self.retry_at_s, self._wait_s = now_s, FIRST_RETRY_S

    def retry(self, now_s: float) -> bool:
        """Try to open the capture again; whether it did."""
        try:
            self.capture = self._opener(self.name, *self._scope, self._index)
        except AisharkError as error:
            self.trouble = f"{error}; tried again"
            self.retry_at_s = now_s + self._wait_s
            self._wait_s = min(2 * self._wait_s, LAST_RETRY_S)
            return False
        self.interfaces = self.capture.interfaces
        return True

    def note_gap(self, now_s: float) -> None:
        """See whether a gap has begun or ended."""
        if self.capture is None or self.capture.interrupted:
            if self._gap_began_s is None:
                self._gap_began_s = now_s
                self._gaps += 1
                log.warning("gap in the capture on %s: %s", self.name, self.condition)
        elif self._gap_began_s is not None:
            gap_s = now_s - self._gap_began_s
            log.warning("the capture on %s goes on after a gap of %.1f s", self.name, gap_s)
            self._gap_s += gap_s
            self._gap_began_s = None


class SeveralCaptures:
    """Source of the packets of all `interfaces`, which `opener` opens; see LiveCapture for what each does and raises.

    Those that cannot be opened at the start raise; later their trouble is only told.
    """

    kind: SourceKind = "live"
    exhausted = False

    def __init__(self, interfaces: Sequence[str], opener: Opener, capture_filter: str, snaplen: int) -> None:
        self._members: list[_Member] = []
        with contextlib.ExitStack() as undo:
            for index, name in enumerate(interfaces):
                member = _Member(name, index, opener, capture_filter, snaplen)
                assert member.capture
                undo.callback(member.capture.close)
                self._members.append(member)
            self._waker, self._woken = socket.socketpair()
            undo.pop_all()
        self._waker.setblocking(False)
        self._next = 0
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._woken, selectors.EVENT_READ)
        for member in self._members:
            self._watch(member)

    @property
    def interfaces(self) -> list[SourceInterface]:
        """All interfaces, in the order they were named."""
        return [interface for member in self._members for interface in member.interfaces]

    @property
    def condition(self) -> str:
        """What is wrong with which interface, in words; '' while all is well."""
        return "; ".join(filter(None, (member.condition for member in self._members)))

    @property
    def interrupted(self) -> bool:
        """Whether packets of some interface are missed now."""
        return any(member.capture is None or member.capture.interrupted for member in self._members)

    def read(self, timeout_s: float) -> Frames | None:
        """Wait up to `timeout_s` for packets of one interface. The memory is valid until the next read."""
        now_s = time.monotonic()
        deadline_s = now_s + timeout_s
        while True:
            frames = self._read_next(now_s)
            now_s = time.monotonic()
            if frames is not None or now_s >= deadline_s:
                return frames
            for key, _ in self._selector.select(self._next_look_s(deadline_s, now_s) - now_s):
                if key.fileobj is self._woken:
                    self._woken.recv(4096)
                    return None
            now_s = time.monotonic()

    def _next_look_s(self, deadline_s: float, now_s: float) -> float:
        """When something is to be done even if no descriptor says so."""
        looks = [now_s + member.capture.poll_s if member.capture else member.retry_at_s for member in self._members]
        return max(now_s, min(deadline_s, *looks))

    def _read_next(self, now_s: float) -> Frames | None:
        """What the first capture with packets has, beginning with the one after the last that had some."""
        for _ in self._members:
            member = self._members[self._next]
            self._next = (self._next + 1) % len(self._members)
            frames = None
            try:
                if member.capture:
                    frames = member.capture.read(0)
                elif now_s >= member.retry_at_s and member.retry(now_s):
                    self._watch(member)
            except AisharkError as error:
                self._unwatch(member)
                member.lose(error, now_s)
            member.note_gap(now_s)
            if frames is not None:
                return frames
        return None

    def _watch(self, member: _Member) -> None:
        if member.capture and member.capture.fileno() >= 0:
            self._selector.register(member.capture.fileno(), selectors.EVENT_READ)

    def _unwatch(self, member: _Member) -> None:
        if member.capture and member.capture.fileno() >= 0:
            self._selector.unregister(member.capture.fileno())

    def adjust(self, capture_filter: str, snaplen: int) -> None:
        """Another filter and snaplen for all interfaces from now on; where one refuses them, none has them."""
        before = [(member.interfaces[0].filter, member.interfaces[0].snaplen) for member in self._members]
        for index, member in enumerate(self._members):
            try:
                member.adjust(capture_filter, snaplen)
            except AisharkError:
                for changed, old in zip(self._members[:index], before, strict=False):
                    changed.adjust(*old)
                raise

    def halt(self) -> None:
        """Let no more packets in; what was captured before can still be read."""
        for member in self._members:
            if member.capture:
                member.capture.halt()

    def counters(self) -> dict[str, int]:
        """Sums over the interfaces: `matched`, `kernel_dropped`, and of gaps `gaps` and their `gap_ms`."""
        now_s = time.monotonic()
        sums: dict[str, int] = {}
        for member in self._members:
            for name, count in member.counters(now_s).items():
                sums[name] = sums.get(name, 0) + count
        return sums

    def wake(self) -> None:
        """Make a blocked read return soon. Safe from any thread, also after close."""
        with contextlib.suppress(OSError):  # full: it will wake anyway; closed: nobody reads
            self._waker.send(b"\0")

    def close(self) -> None:
        """Stop capturing; not while another thread is in `read`."""
        for member in self._members:
            if member.capture:
                member.capture.close()
        self._selector.close()
        self._waker.close()
        self._woken.close()
