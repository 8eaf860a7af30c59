"""The condition of a session: what it is doing, and in words why nothing moves or what is in the way."""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

from aishark_panel.streams.journalstate import JournalState
from aishark_panel.streams.manifest import Recorded
from aishark_panel.streams.runs import Runs

__all__ = ["Condition", "SessionState"]

log = logging.getLogger(__name__)

SessionState = Literal["waiting", "capturing", "stopped", "ended"]


class Condition:
    """How a session of that name fares with its `runs` and `recordings`. May be asked on any thread."""

    def __init__(self, name: str, runs: Runs, recordings: Sequence[Recorded]) -> None:
        self._name = name
        self._runs = runs
        self._recordings = recordings
        self.wanted = True
        """whether the user wants packets (start and stop)"""
        self.preparing = ""
        """what the hub must do before it can take packets, in words"""
        self.recovering = ""
        """how far the hub is with reading the session back from its journal, in words; '' once it is done"""
        self.journal: Callable[[], JournalState] = partial(JournalState, on=False)
        """how its journal fares"""
        self.trouble = ""
        """what a defect of the hub did, but for packets that `failed`, in words; '' as long as none showed"""

    def note_trouble(self, what: str) -> None:
        """In the handler of an exception that nobody expected: say what it did, and why once in the log."""
        if self.trouble != what:
            self.trouble = what
            log.exception("session %s: %s", self._name, what)

    def state(self, *, has_packets: bool) -> SessionState:
        """What the session is doing, whether or not packets came so far; `reason` says why in words."""
        if self.recovering:
            return "waiting"
        if not self.wanted:
            return "stopped"
        if self.preparing and not has_packets:
            return "waiting"
        runs = list(self._runs)
        active = [run for run in runs if run.is_active]
        if any(run.capturing or not run.reason for run in active):
            return "capturing"
        if active:
            return "waiting"
        return "ended" if runs and all(run.ended for run in runs) else "waiting"

    def reason(self, *, has_packets: bool) -> str:
        """Why nothing moves, or what is in the way; '' while packets may come."""
        return self.recovering or self._idle_reason(has_packets) or self._journal_problem or self.recording_problem

    @property
    def recording_problem(self) -> str:
        """Why a recording waits; '' if none does."""
        return next((r.reason for r in list(self._recordings) if r.state == "waiting"), "")

    @property
    def _journal_problem(self) -> str:
        problem = self.journal().problem
        return problem and f"{problem} Packets come in, but would not survive a crash of the hub."

    def _idle_reason(self, has_packets: bool) -> str:
        runs = list(self._runs)
        if not self.wanted:
            return "Stopped. Packets seen so far are kept; start to go on."
        if self.preparing and not has_packets:
            return self.preparing
        if not runs:
            return "Waiting for an agent to connect."
        active = [run for run in runs if run.is_active]
        if active:
            idle = [run.reason for run in active if run.reason]
            return idle[0] if len(idle) == len(active) else ""
        last = runs[-1]
        if all(run.ended for run in runs):
            return last.reason or "The capture is over."
        return f"Agent {last.hello.agent} is not connected. {last.reason}".strip()
