"""The loss ledger: where each packet of a session is, stage by stage, from the agents' hosts to the ring.

A *stage* is a count of packets that came in and the *parts* they went to; each of these numbers is counted where it
happens, by an agent or by the hub. `difference` is what they do not explain: packets between two counters while the
session is busy, and 0 once it is drained. Pure.
"""

from typing import Any

from aishark_panel.streams.session import AgentRun, Session

__all__ = ["ledger"]


def ledger(session: Session) -> dict[str, Any]:
    """Stages of each agent's run, and of the session's ring; docs/protocol.md names every part. Counts are packets."""
    ring = session.ring
    return {
        "agents": [_run_ledger(run) for run in list(session.runs.values())],
        "ring": _stage(
            "ring",
            "ingested",
            session.packets,
            in_ring=ring.end - ring.first,
            evicted=ring.evicted,
            cleared=ring.cleared,
        ),
    }


def _run_ledger(run: AgentRun) -> dict[str, Any]:
    told = run.counters
    stages = [_stage("hub", "taken", run.packets + run.rejected, ingested=run.packets, rejected=run.rejected)]
    if "captured" in told:
        dropped = {name: count for name, count in told.items() if name.startswith("dropped_")}
        sent = _stage(
            "agent",
            "captured",
            told["captured"],
            sampled_out=told.get("sampled_out", 0),
            throttled=told.get("throttled", 0),
            **dropped,
            in_encoder=told.get("in_encoder", 0),
            lost_in_agent_crash=told.get("lost_in_agent_crash", 0),
            outbox=told.get("outbox", 0),
            spooled=told.get("spooled", 0),
            # Acknowledged, but not by this session: by another one, or by a hub that was restarted since.
            taken_elsewhere=max(0, told.get("delivered", 0) - run.packets),
            taken=run.packets + run.rejected,
        )
        stages.insert(0, sent)
    if "matched" in told:
        kernel_dropped = told.get("kernel_dropped", 0)
        capture = _stage(
            "capture", "matched", told["matched"], kernel_dropped=kernel_dropped, captured=told.get("captured", 0)
        )
        stages.insert(0, capture)
    return {"agent": run.hello.agent, "run": run.hello.run, "connected": run.connected, "stages": stages}


def _stage(name: str, what: str, packets: int, **parts: int) -> dict[str, Any]:
    difference = packets - sum(parts.values())
    return {"stage": name, "what": what, "packets": packets, "parts": parts, "difference": difference}
