"""Whether the hub is well, and if not, why: journals, disks, sessions and agents, as far as a person sees them."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from aishark_panel.streams.hub import Hub
from aishark_panel.streams.people import Person
from aishark_panel.streams.session import Session

__all__ = ["LOW_DISK_BYTES", "disk_reasons", "folders", "health"]

LOW_DISK_BYTES: Final = 2**30
"""Less than this is told."""

Reason = dict[str, str]


def health(hub: Hub, person: Person, disks: list[Reason]) -> dict[str, Any]:
    """What `GET /api/health` answers to who has a token; `disks` are the reasons of `disk_reasons`."""
    sessions = [hub.sessions.find(line["id"], person) for line in hub.sessions.list(person)]
    if not person.may("admin"):  # where the hub keeps its files is not everybody's
        disks = [{**reason, "name": ""} for reason in disks]
    reasons = [*disks, *(reason for session in sessions for reason in _session_reasons(session))]
    return {
        "state": "troubled" if reasons else "good",
        "reasons": reasons,
        "sessions": len(sessions),
        "agents": sum(agent["state"] in ("capturing", "stopped") for agent in hub.agents.list(person)),
        "uptime_s": (time.time_ns() - hub.started_ns) / 1e9,
    }


def folders(hub: Hub) -> list[Path]:
    """Where the hub writes."""
    journal = [hub.journal.folder] if hub.journal else []
    return [*journal, hub.recorder.folder, hub.uploads.folder]


def disk_reasons(places: list[Path]) -> list[Reason]:
    """Folders that are on a disk with little room. Asks the disk, which may take its time."""
    reasons: list[Reason] = []
    for folder in places:
        there = next((path for path in (folder, *folder.parents) if path.exists()), folder)
        try:
            free_bytes = shutil.disk_usage(there).free
        except OSError as error:
            reasons.append(_reason("disk", str(folder), f"It cannot be asked: {error.strerror}."))
            continue
        if free_bytes < LOW_DISK_BYTES:
            reasons.append(_reason("disk", str(folder), f"Its disk has {free_bytes // 2**20:,} MiB left."))
    return reasons


def _session_reasons(session: Session) -> Iterator[Reason]:
    condition = session.condition
    if condition.recovering or condition.preparing:
        yield _reason("session", session.name, condition.recovering or condition.preparing)
    if condition.trouble:
        yield _reason("session", session.name, f"{condition.trouble} The hub's log says why.")
    journal = condition.journal()
    if journal.problem or journal.behind:
        yield _reason("journal", session.name, journal.problem or "The disk is slower than the agents; they wait.")
    for run in session.runs:
        if run.left_ns:
            yield _reason("agent", run.hello.agent, f"It is not connected. {run.reason}".strip())
        elif run.is_active and condition.wanted and run.reason:
            yield _reason("agent", run.hello.agent, run.reason)


def _reason(part: str, name: str, message: str) -> Reason:
    return {"part": part, "name": name, "message": message}
