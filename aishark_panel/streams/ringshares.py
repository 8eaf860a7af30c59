"""What of the machine's memory rings may take: those of all sessions together, and those of one person."""

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

import msgspec

from aishark_panel.errors import ConfigError
from aishark_panel.streams.people import OWNER

__all__ = ["RingShares", "memory_bytes"]

_CGROUP_LIMITS: Final = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


class RingShares(msgspec.Struct, frozen=True, kw_only=True):
    """Most bytes of rings. A ring counts with its limit, full or not."""

    total_bytes: int
    each_bytes: int
    """of one person; the hub's owner may have all"""

    @classmethod
    def of_machine(cls, ring_bytes: int, total_bytes: int = 0, each_bytes: int = 0) -> Self:
        """These bounds; those that are 0: half of the memory for all, but four rings at least, and half of that for
        one person."""
        total = total_bytes or max(memory_bytes() // 2, 4 * ring_bytes)
        return cls(total_bytes=total, each_bytes=each_bytes or max(total // 2, ring_bytes))

    def check(self, rings: Iterable[tuple[str, int]], owner: str, ring_bytes: int) -> None:
        """ConfigError if one ring more, of that owner, is too much beside these (owner, bytes)."""
        rings = list(rings)
        taken, own = sum(size for _, size in rings), sum(size for name, size in rings if name == owner)
        if rings and taken + ring_bytes > self.total_bytes:
            raise ConfigError(
                f"the sessions of this hub may take {_mib(self.total_bytes)} of memory and have {_mib(taken)}; a new "
                f"one takes {_mib(ring_bytes)}: delete one first, or start the hub with a larger --max-rings-mib"
            )
        if owner != OWNER.name and own + ring_bytes > self.each_bytes:
            raise ConfigError(
                f"the sessions of {owner} may take {_mib(self.each_bytes)} of memory and have {_mib(own)}; a new one "
                f"takes {_mib(ring_bytes)}: delete one first, or start the hub with a larger --max-rings-mib-each"
            )


def memory_bytes() -> int:
    """The memory that this process may use: the machine's, or what its container was given of it."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for file in _CGROUP_LIMITS:
        with suppress(OSError, ValueError):
            memory = min(memory, int(Path(file).read_text()))
    return memory


def _mib(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB"
