"""How a session's journal fares."""

from dataclasses import dataclass
from typing import Any

__all__ = ["JournalState"]


@dataclass(slots=True)
class JournalState:
    """How a session's journal fares."""

    problem: str = ""
    """why nothing is written, in words"""
    disk_bytes: int = 0
    waiting_bytes: int = 0
    """of all sessions: in memory, because it is not safe on the disk yet"""
    durable_end: int = 0
    """number of the first packet that a crash of the hub could take"""
    behind: bool = False
    """whether the disk is slower than the agents, who have to wait for it"""
    on: bool = True
    """whether there is a journal at all"""

    def stats(self) -> dict[str, Any]:
        """What the statistics of a session say of it (docs/protocol.md)."""
        state = "off" if not self.on else "failing" if self.problem else "behind" if self.behind else "on"
        return {
            "state": state,
            "reason": self.problem,
            "disk_bytes": self.disk_bytes,
            "waiting_bytes": self.waiting_bytes,
        }
