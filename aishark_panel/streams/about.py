"""What is said of a session where more than one is spoken of: in the list of sessions, and in files with its packets.

A file tells which session it is from, what its agents left out, and what was lost.
"""

import json
from typing import Any, Final

from aishark_panel.streams.agentrun import AgentRun
from aishark_panel.streams.session import Session
from aishark_panel.streams.stats import left_out, lost
from aishark_panel.wire.schema import SCHEMA_VERSION

__all__ = ["about", "comment", "line"]

_MAX_AGENTS: Final = 100
"""Most runs of agents that a file tells of, the newest."""


def line(session: Session) -> dict[str, Any]:
    """A session in the list of sessions, but for what one may do with it."""
    return {
        "id": session.id,
        "name": session.name,
        "owner": session.owner,
        "state": session.state,
        "source": session.runs.source,
        "packets": session.packets,
        "kept": session.ring.end - session.ring.first,
        "kept_bytes": session.ring.size_bytes,
        "first_ts": session.first_ts,
        "last_ts": session.last_ts,
        "agents": sorted({run.hello.agent for run in session.runs if run.is_active}),
    }


def about(session: Session, where: str = "", missed: int = 0) -> dict[str, str]:
    """Metadata of a file with packets that `where` selected; `missed`: packets that were evicted before their turn.

    Texts by key, as Parquet wants them; what has parts is JSON.
    """
    runs = list(session.runs)[-_MAX_AGENTS:]
    factors = sorted({run.sampling for run in runs} - {1})
    loss = {"lost": lost(session), "left_out": left_out(session), "evicted": session.ring.evicted, "missed": missed}
    return {
        "aishark.schema_version": str(SCHEMA_VERSION),
        "aishark.session": session.name,
        "aishark.session_id": session.id,
        "aishark.agents": json.dumps([_agent(run) for run in runs]),
        "aishark.filter": where,
        "aishark.sampling": json.dumps(factors),
        "aishark.loss": json.dumps(loss),
    }


def comment(session: Session, where: str = "") -> str:
    """What a pcapng file with packets that `where` selected says of itself, in lines for people."""
    notes = [f"session: {session.name}", *([f"display filter: {where}"] if where else [])]
    for run in list(session.runs)[-_MAX_AGENTS:]:
        facts = [f"1 {run.sampling_by} in {run.sampling} sent"] if run.sampling > 1 else []
        facts += [f"payload: {run.payload}"] if run.payload != "full" else []
        facts += [f"at most {run.max_packets_per_second} packets/s"] if run.max_packets_per_second else []
        notes += [f"{run.hello.agent}: {', '.join(facts)}"] if facts else []
    return "\n".join(dict.fromkeys(notes))


def _agent(run: AgentRun) -> dict[str, Any]:
    return {
        "name": run.hello.agent,
        "host": run.hello.host,
        "os": run.hello.os,
        "version": run.hello.version,
        "source": run.hello.source,
        "interfaces": [
            {"name": i.name, "link_type": i.link_type, "filter": i.filter, "snaplen": i.snaplen}
            for i in run.interfaces
            if i.captured
        ],
        "sampling": run.sampling,
        "sampling_by": run.sampling_by,
        "payload": run.payload,
        "max_packets_per_second": run.max_packets_per_second,
        "packets": run.packets,
        "counters": dict(run.counters),
    }
