"""Several interfaces captured by one agent: one Source over a LiveCapture for each, read by one thread.

They take turns, so that a busy interface does not keep a quiet one waiting; the thread sleeps only while none has
packets. Packets keep the order of their own interface; between interfaces they come as they are read.
"""

import contextlib
import select
import socket
import time
from collections.abc import Callable, Sequence

from aishark_panel.agent.capture import LiveCapture
from aishark_panel.agent.source import SourceInterface, SourceKind
from aishark_panel.errors import AisharkError
from aishark_panel.wire.frames import Frames

__all__ = ["SeveralCaptures"]


class SeveralCaptures:
    """Source of the packets of all interfaces that `openers` open; see LiveCapture for what each does and raises.

    An opener is given the index its interface has here, which its frames carry.
    """

    kind: SourceKind = "live"
    exhausted = False

    def __init__(self, openers: Sequence[Callable[[int], LiveCapture]]) -> None:
        self._captures: list[LiveCapture] = []
        with contextlib.ExitStack() as undo:
            for index, opener in enumerate(openers):
                self._captures.append(undo.enter_context(contextlib.closing(opener(index))))
            self._waker, self._woken = socket.socketpair()
            undo.pop_all()
        self._waker.setblocking(False)
        self._next = 0
        self._poll = select.poll()
        self._poll.register(self._woken, select.POLLIN)
        self._by_descriptor = {capture.fileno(): capture for capture in self._captures}
        for descriptor in self._by_descriptor:
            self._poll.register(descriptor, select.POLLIN)

    @property
    def interfaces(self) -> list[SourceInterface]:
        """All interfaces, in the order of the openers."""
        return [interface for capture in self._captures for interface in capture.interfaces]

    def read(self, timeout_s: float) -> Frames | None:
        """Wait up to `timeout_s` for packets of one interface. The memory is valid until the next read."""
        deadline_s = time.monotonic() + timeout_s
        while True:
            if (frames := self._read_next()) is not None:
                return frames
            remaining_s = deadline_s - time.monotonic()
            if remaining_s <= 0:
                return None
            for descriptor, event in self._poll.poll(remaining_s * 1000):
                if descriptor == self._woken.fileno():
                    self._woken.recv(4096)
                    return None
                if event & (select.POLLERR | select.POLLHUP | select.POLLNVAL):
                    # Read by itself, the capture finds out what is wrong and raises that.
                    return self._by_descriptor[descriptor].read(remaining_s)

    def _read_next(self) -> Frames | None:
        """What the first capture with packets has, beginning with the one after the last that had some."""
        for _ in self._captures:
            capture = self._captures[self._next]
            self._next = (self._next + 1) % len(self._captures)
            if (frames := capture.read(0)) is not None:
                return frames
        return None

    def adjust(self, capture_filter: str, snaplen: int) -> None:
        """Another filter and snaplen for all interfaces from now on; where one refuses them, none has them."""
        before = [(each.filter, each.snaplen) for each in self.interfaces]
        for index, capture in enumerate(self._captures):
            try:
                capture.adjust(capture_filter, snaplen)
            except AisharkError:
                for changed, old in zip(self._captures[:index], before, strict=False):
                    changed.adjust(*old)
                raise

    def halt(self) -> None:
        """Let no more packets in; what was captured before can still be read."""
        for capture in self._captures:
            capture.halt()

    def counters(self) -> dict[str, int]:
        """`matched` and `kernel_dropped`, summed over the interfaces."""
        counts = [capture.counters() for capture in self._captures]
        return {name: sum(each[name] for each in counts) for name in counts[0]}

    def wake(self) -> None:
        """Make a blocked read return soon. Safe from any thread, also after close."""
        with contextlib.suppress(OSError):  # full: it will wake anyway; closed: nobody reads
            self._waker.send(b"\0")

    def close(self) -> None:
        """Stop capturing; not while another thread is in `read`."""
        for capture in self._captures:
            capture.close()
        self._waker.close()
        self._woken.close()
