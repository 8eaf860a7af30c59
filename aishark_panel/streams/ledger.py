"""The loss ledger: where each packet of a session is, stage by stage, from the agents' hosts to the ring.

A *stage* is a count of packets that came in and the *parts* they went to; each of these numbers is counted where it
happens, by an agent or by the hub. `difference` is what they do not explain: packets between two counters while the
session is busy, and 0 once it is drained. A packet that the hub has taken and the agent has not let go of yet counts
once, at the hub. *Gaps* are times in which nothing was heard. Pure.
"""

from typing import Any, Final

import msgspec

from aishark_panel.streams.agentrun import AgentRun
from aishark_panel.streams.manifest import Recorded
from aishark_panel.streams.session import Session

__all__ = ["IN_PROGRESS", "ledger"]

IN_PROGRESS: Final = ("in_kernel_ring", "in_encoder", "outbox", "spooled", "in_hub_queue", "in_merge")
"""Parts on their way: 0 once a session is drained."""


def ledger(session: Session) -> dict[str, Any]:
    """Stages of each agent's run, and of the session's ring; docs/protocol.md names every part. Counts are packets."""
    ring, lost = session.ring, session.lost_in_hub_crash
    return {
        "agents": [_run_ledger(run) for run in session.runs],
        "ring": _stage(
            "ring",
            "ingested",
            session.packets + lost,
            in_merge=session.merge.rows,
            in_ring=ring.end - ring.first,
            evicted=ring.evicted,
            cleared=ring.cleared,
            lost_in_hub_crash=lost,
            failed=session.failed,
        ),
        "late": session.merge.late,
        "recordings": [_recording_ledger(recording, ring.end) for recording in list(session.recordings)],
        "gaps": [msgspec.to_builtins(gap) for gap in list(session.gaps)] + _open_gaps(session),
        "losses": list(session.losses),
    }


def _run_ledger(run: AgentRun) -> dict[str, Any]:
    told = run.counters
    taken = run.arrived + run.lost_in_hub_crash
    stages = [
        _stage(
            "hub",
            "taken",
            taken,
            ingested=run.packets + run.lost_in_hub_crash,
            **{f"rejected_{reason}": count for reason, count in dict(run.rejected).items()},
            in_hub_queue=run.queued - run.unqueued,
        )
    ]
    if "captured" in told:
        stages.insert(0, _agent_stage(run, taken))
    if "matched" in told:
        capture = _stage(
            "capture",
            "matched",
            told["matched"],
            kernel_dropped=told.get("kernel_dropped", 0),
            in_kernel_ring=told.get("in_kernel_ring", 0),
            captured=told.get("captured", 0),
        )
        stages.insert(0, capture)
    return {"agent": run.hello.agent, "run": run.hello.run, "connected": run.connected, "stages": stages}


def _agent_stage(run: AgentRun, taken: int) -> dict[str, Any]:
    told = run.counters
    outbox, spooled = told.get("outbox", 0), told.get("spooled", 0)
    # The agent keeps a batch until it is durable, so what was taken last is still in its outbox, or spooled.
    kept_twice = max(0, taken + run.taken_elsewhere - told.get("delivered", 0))
    from_outbox = min(outbox, kept_twice)
    return _stage(
        "agent",
        "captured",
        told["captured"],
        sampled_out=told.get("sampled_out", 0),
        throttled=told.get("throttled", 0),
        **{name: count for name, count in told.items() if name.startswith("dropped_")},
        lost_in_agent_crash=told.get("lost_in_agent_crash", 0),
        in_encoder=told.get("in_encoder", 0),
        outbox=outbox - from_outbox,
        spooled=spooled - min(spooled, kept_twice - from_outbox),
        taken_elsewhere=run.taken_elsewhere,
        taken=taken,
    )


def _recording_ledger(recording: Recorded, end: int) -> dict[str, Any]:
    counts = recording.counts
    end = max(end, counts.cursor) if recording.state in ("recording", "waiting") else counts.cursor
    stage = _stage(
        "recording",
        "offered",
        end - recording.first,
        written=counts.written,
        failed=counts.failed,
        left_out=counts.left_out,
        in_ring=end - counts.cursor,
    )
    return {"recording": recording.id, "state": recording.state, "reason": recording.reason, **stage}


def _open_gaps(session: Session) -> list[dict[str, Any]]:
    """Agents that are away now."""
    away = [run for run in session.runs if run.left_ns]
    return [{"what": "connection", "agent": run.hello.agent, "start_ns": run.left_ns, "end_ns": 0} for run in away]


def _stage(name: str, what: str, packets: int, **parts: int) -> dict[str, Any]:
    difference = packets - sum(parts.values())
    return {"stage": name, "what": what, "packets": packets, "parts": parts, "difference": difference}
