"""When packets were lost: the agents' counters of loss, looked at a few times a second, as intervals of time. Pure."""

from collections import deque
from collections.abc import Iterable
from typing import Any, Final

from aishark_panel.streams.agentrun import AgentRun

__all__ = ["Losses"]

MAX_LOSSES: Final = 500
"""The newest are remembered."""
_JOIN_NS: Final = 2_000_000_000
"""Losses of one agent that are no further apart are one."""


class Losses:
    """Intervals in which counters of loss grew, oldest first. What was lost before a run was first seen has no time."""

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}
        self._looked_ns = 0
        self._found: deque[dict[str, Any]] = deque(maxlen=MAX_LOSSES)

    def look(self, runs: Iterable[AgentRun], now_ns: int) -> None:
        """Note what the counters have grown by since the last time; `now_ns`: Unix time."""
        seen = {run.hello.run: (run, run.lost) for run in runs}
        for key, (run, lost) in seen.items():
            if (packets := lost - self._seen.get(key, lost)) > 0:
                self._add(run.hello.agent, packets, now_ns)
        self._seen = {key: lost for key, (_, lost) in seen.items()}
        self._looked_ns = now_ns

    def _add(self, agent: str, packets: int, now_ns: int) -> None:
        last = next((loss for loss in reversed(self._found) if loss["agent"] == agent), None)
        if last and self._looked_ns - last["end_ns"] <= _JOIN_NS:
            last["packets"] += packets
            last["end_ns"] = now_ns
        else:
            self._found.append({"agent": agent, "packets": packets, "start_ns": self._looked_ns, "end_ns": now_ns})

    def __iter__(self) -> Any:
        return iter([dict(loss) for loss in list(self._found)])
