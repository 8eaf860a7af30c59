"""The statistics of a session: its figures, how it fares, and a line about each agent."""

from typing import Any

from aishark_panel.streams.session import Session

__all__ = ["left_out", "lost", "stats"]


def lost(session: Session) -> int:
    """Packets that were lost: by kernels, by full outboxes, with an agent or a hub that died."""
    return session.lost_in_hub_crash + sum(run.lost for run in session.runs)


def left_out(session: Session) -> int:
    """Packets that agents left out as they were told to: by sampling, by a rate."""
    return sum(run.counters.get(name, 0) for run in session.runs for name in ("sampled_out", "throttled"))


def stats(session: Session) -> dict[str, Any]:
    """What `GET /api/stream/:id/stats` answers; docs/protocol.md names every field."""
    ring, conversations = session.ring, session.conversations
    packets_per_s, bits_per_s = session.rates.per_second
    return {
        "id": session.id,
        "name": session.name,
        "owner": session.owner,
        "state": session.state,
        "reason": session.reason,
        "source": session.runs.source,
        "first": ring.first,
        "end": ring.end,
        "packets": session.packets,
        "bytes": session.bytes,
        "first_ts": session.first_ts,
        "last_ts": session.last_ts,
        "packets_per_s": packets_per_s,
        "bits_per_s": bits_per_s,
        "ring_bytes": ring.size_bytes,
        "ring_limit_bytes": ring.limit_bytes,
        "evicted": ring.evicted,
        "cleared": ring.cleared,
        "conversations": len(conversations),
        "conversations_forgotten": conversations.forgotten,
        "forgotten_agents": session.runs.forgotten,
        "late": session.merge.late,
        "late_in_rollup": int(session.rollups.late[0]),
        "lost": lost(session),
        "journal": session.condition.journal().stats(),
        "recordings": _recording_stats(session),
        "left_out": left_out(session),
        "alerts": session.alerts.counts(),
        "subscriptions": session.feeds.stats(),
        "agents": [run.stats() for run in session.runs],
    }


def _recording_stats(session: Session) -> dict[str, Any]:
    states = [recording.state for recording in list(session.recordings)]
    return {
        **{state: states.count(state) for state in ("recording", "waiting", "stopped", "failed")},
        "reason": session.condition.recording_problem,
    }
