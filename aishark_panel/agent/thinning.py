"""Thinning: while there is no room for what is captured, the rate is halved step by step, and doubled again later.

Pure: time is an argument.
"""

from typing import Final

__all__ = ["Thinning"]

_THIN_AT: Final = 0.5
_RELAX_AT: Final = 0.25
"""shares of the room that are taken"""
_THIN_EVERY_S: Final = 1.0
_RELAX_EVERY_S: Final = 5.0
_MOST: Final = 1024


class Thinning:
    """How much sparser than it was told to an agent samples."""

    def __init__(self) -> None:
        self.factor = 1
        """every how many-th packet of those that would be sent"""
        self._changed_s = float("-inf")

    def follow(self, fill: float, now_s: float) -> bool:
        """So much of the room, 0 to 1, is taken; whether that changes the factor."""
        factor = self.factor
        if fill >= _THIN_AT and now_s - self._changed_s >= _THIN_EVERY_S:
            factor = min(_MOST, 2 * factor)
        elif fill < _RELAX_AT and now_s - self._changed_s >= _RELAX_EVERY_S:
            factor = max(1, factor // 2)
        if factor == self.factor:
            return False
        self.factor, self._changed_s = factor, now_s
        return True
