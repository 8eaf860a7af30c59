"""Runs of deleted sessions: what they had got of agents that go on elsewhere.

Without this the next session, and the next hub, would take for lost what an agent delivered to a session that is gone.
Where there is a journal it is kept beside that, in one small file.
"""

import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Final

import msgspec

from aishark_panel.streams.agentrun import AgentRun
from aishark_panel.streams.partfile import sync_folder
from aishark_panel.streams.segments import write_all
from aishark_panel.streams.session import Session

__all__ = ["GoneRun", "GoneRuns", "book_lost"]

log = logging.getLogger(__name__)

MAX_GONE_RUNS: Final = 1_000
"""The newest are remembered."""
_FILE: Final = "gone-runs.json"
_MAX_FILE_BYTES: Final = 1_000 * MAX_GONE_RUNS

Count = Annotated[int, msgspec.Meta(ge=0)]


class GoneRun(msgspec.Struct, frozen=True, kw_only=True):
    """A run as a session knew it that an earlier hub deleted; as AgentRun."""

    session: str
    run: str
    received: Count
    had: Count


class GoneRuns:
    """The runs, by session and run. `folder` is where they are kept over restarts; None: nowhere."""

    def __init__(self, folder: Path | None) -> None:
        self._path = folder / _FILE if folder else None
        self._runs: dict[tuple[str, str], AgentRun | GoneRun] = {}

    def read(self, there: Iterable[str]) -> None:
        """Take what an earlier hub left, but for sessions that are `there` after all: it died while it deleted them."""
        if self._path is None:
            return
        try:
            with self._path.open("rb") as file:
                found = msgspec.json.decode(file.read(_MAX_FILE_BYTES), type=list[GoneRun])
        except FileNotFoundError:
            return
        except (OSError, msgspec.DecodeError, UnicodeError) as error:
            log.warning("%s cannot be read: what deleted sessions had will be taken for lost: %s", self._path, error)
            return
        known = set(there)
        self._runs = {(gone.session, gone.run): gone for gone in found if gone.session not in known}

    def add(self, session_id: str, runs: Iterable[AgentRun]) -> None:
        """A session is deleted. What is still on its way into it does not come back, either."""
        for run in runs:
            self._runs[session_id, run.hello.run] = run
        for key in list(self._runs)[:-MAX_GONE_RUNS]:
            del self._runs[key]

    def settle(self, session_id: str) -> None:
        """Nothing of that session changes any more: keep of its runs what is needed, and not all that they said."""
        for (of_session, run_id), run in self._runs.items():
            if of_session == session_id:
                self._runs[of_session, run_id] = _in_short(of_session, run_id, run)

    def of(self, run_id: str) -> list[AgentRun | GoneRun]:
        """What deleted sessions had of a run."""
        return [run for (_, known), run in self._runs.items() if known == run_id]

    def save(self) -> None:
        """Keep them. Writes to the disk; where that fails the log says so."""
        if self._path is None:
            return
        gone = [_in_short(session_id, run_id, run) for (session_id, run_id), run in list(self._runs.items())]
        part = self._path.with_suffix(".part")
        try:
            fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                write_all(fd, [msgspec.json.encode(gone)])
                os.fsync(fd)
            finally:
                os.close(fd)
            part.rename(self._path)
            sync_folder(self._path.parent)
        except OSError as error:
            log.warning("%s cannot be written: %s", self._path, error.strerror)


def _in_short(session_id: str, run_id: str, run: AgentRun | GoneRun) -> GoneRun:
    return GoneRun(session=session_id, run=run_id, received=run.received, had=run.had)


def book_lost(session: Session, run: AgentRun, packets: int) -> None:
    """An earlier hub had acknowledged so many packets that are not in this session; who else has or lost them?"""
    lost = max(0, packets - run.lost_in_hub_crash - run.taken_elsewhere)
    run.lost_in_hub_crash += lost
    session.lost_in_hub_crash += lost
