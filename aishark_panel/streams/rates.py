"""How fast a session grows: packets and bits a second, made from totals that are noted a few times a second. Pure."""

from collections import deque
from typing import Final

__all__ = ["Rates"]

_SPAN_S: Final = 2.0
_MAX_MARKS: Final = 64


class Rates:
    """Rates over the last two seconds of wall time."""

    def __init__(self) -> None:
        self._marks: deque[tuple[float, int, int]] = deque(maxlen=_MAX_MARKS)

    def mark(self, now_s: float, packets: int, bytes_: int) -> None:
        """Note the totals at a moment of wall time."""
        self._marks.append((now_s, packets, bytes_))
        while len(self._marks) > 2 and now_s - self._marks[0][0] > _SPAN_S:
            self._marks.popleft()

    @property
    def marked_s(self) -> float | None:
        """When the newest totals were noted."""
        return self._marks[-1][0] if self._marks else None

    @property
    def per_second(self) -> tuple[float, float]:
        """Packets and bits."""
        if len(self._marks) < 2:
            return 0.0, 0.0
        (t0, packets0, bytes0), (t1, packets1, bytes1) = self._marks[0], self._marks[-1]
        span_s = max(t1 - t0, 1e-6)
        return (packets1 - packets0) / span_s, 8 * (bytes1 - bytes0) / span_s
