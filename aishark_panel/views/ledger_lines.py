"""The loss ledger in words: where each packet of a session is, as lines for a person. Pure.

In goes what the hub tells (streams/ledger.py); each part gets a name, and what it means that packets are there.
"""

from collections import Counter
from datetime import UTC, datetime
from typing import Any, Final

__all__ = ["MAX_GAPS", "MAX_RUNS", "PARTS", "ledger_lines", "ledger_text"]

MAX_RUNS: Final = 8
"""Most runs of agents that are told of, the newest."""
MAX_GAPS: Final = 5
"""Most gaps that are told of, the newest."""

LOST, LEFT_OUT, MOVING, THERE = "lost", "left out", "on its way", ""

PARTS: Final[dict[str, tuple[str, str]]] = {
    "kernel_dropped": (LOST, "dropped by the kernel, whose buffer was full"),
    "in_kernel_ring": (MOVING, "waiting in the kernel's buffer"),
    "captured": (THERE, "read by the agent"),
    "sampled_out": (LEFT_OUT, "left out by sampling"),
    "throttled": (LEFT_OUT, "left out by the agent's rate limit"),
    "dropped_outbox_full": (LOST, "dropped by the agent, whose outbox was full"),
    "dropped_at_exit": (LOST, "dropped as the agent ended before the hub took them"),
    "dropped_spool_unreadable": (LOST, "damaged on the agent's disk"),
    "dropped_refused": (LOST, "given up because the hub refused them"),
    "lost_in_agent_crash": (LOST, "lost as the agent crashed"),
    "in_encoder": (MOVING, "being packed by the agent"),
    "outbox": (MOVING, "in the agent's outbox"),
    "spooled": (MOVING, "on the agent's disk"),
    "taken_elsewhere": (THERE, "taken by other sessions of this hub"),
    "taken": (THERE, "taken by the hub"),
    "ingested": (THERE, "added to the session"),
    "rejected_invalid": (LOST, "rejected by the hub, as they broke the protocol"),
    "rejected_failed": (LOST, "rejected by the hub, which failed"),
    "in_hub_queue": (MOVING, "waiting at the hub"),
    "in_merge": (MOVING, "waiting for their place in time"),
    "in_ring": (THERE, "kept, and to be looked at"),
    "evicted": (THERE, "older than what memory holds"),
    "cleared": (THERE, "cleared by somebody"),
    "lost_in_hub_crash": (LOST, "lost as the hub crashed"),
    "failed": (LOST, "could not be dissected"),
    "written": (THERE, "written"),
    "left_out": (THERE, "do not match what is recorded"),
}
"""By the ledger's name of a part: what it means for the packets there, and its name."""

_STAGES: Final = {
    "capture": "passed the capture filter",
    "agent": "read by the agent",
    "hub": "taken by the hub",
    "ring": "in the session",
    "recording": "offered to the recording",
}
_GAPS: Final = {
    "agent": "no agent captured",
    "connection": "the agent was not connected; what it captured came later",
    "hub": "the hub was down",
}


def ledger_lines(ledger: dict[str, Any]) -> dict[str, Any]:
    """The ledger as the page shows it: lost (packets, by cause), left_out, groups of stages, gaps."""
    runs = ledger["agents"][-MAX_RUNS:]
    groups = [_group(f"Agent {run['agent']}", _run_note(run), run["stages"]) for run in reversed(runs)]
    groups.append(_group("This session", "", [ledger["ring"]]))
    groups += [_group(f"Recording {each['recording']}", each["state"], [each]) for each in ledger["recordings"]]
    stages = [*(stage for run in ledger["agents"] for stage in run["stages"]), ledger["ring"]]
    lost, left_out = _total(stages, LOST), _total(stages, LEFT_OUT)
    return {
        "lost": _causes(lost),
        "left_out": _causes(left_out),
        "groups": groups,
        "earlier_runs": max(0, len(ledger["agents"]) - MAX_RUNS),
        "late": ledger["late"],
        "gaps": [_gap(gap) for gap in reversed(ledger["gaps"][-MAX_GAPS:])],
    }


def ledger_text(ledger: dict[str, Any]) -> list[str]:
    """The same as lines of text."""
    told = ledger_lines(ledger)
    lines = [
        f"{what}: " + ("; ".join(f"{cause['packets']:,} {cause['name']}" for cause in told[key]) or "nothing")
        for what, key in ((LOST, "lost"), (LEFT_OUT, "left_out"))
    ]
    for group in told["groups"]:
        lines.append(group["title"] + (f" ({group['note']})" if group["note"] else ""))
        for stage in group["stages"]:
            lines.append(f"{stage['packets']:>14,}  {stage['name']}")
            lines += [
                f"{part['packets']:>18,}  {part['name']}" + (f" ({part['kind']})" if part["kind"] else "")
                for part in stage["parts"]
            ]
    lines += [f"{told['earlier_runs']} earlier runs of agents count too"] if told["earlier_runs"] else []
    lines += [f"{told['late']:,} packets came too late to be sorted in by time"] if told["late"] else []
    return lines + [f"gap: {gap}" for gap in told["gaps"]]


def _run_note(run: dict[str, Any]) -> str:
    return "connected" if run["connected"] else "not connected"


def _group(title: str, note: str, stages: list[dict[str, Any]]) -> dict[str, Any]:
    return {"title": title, "note": note, "stages": [_stage(stage) for stage in stages]}


def _stage(stage: dict[str, Any]) -> dict[str, Any]:
    parts = [
        {"name": name, "kind": kind, "packets": packets}
        for key, packets in stage["parts"].items()
        if packets
        for kind, name in [_named(key)]
    ]
    if stage["difference"]:
        parts.append({"name": "between two counters", "kind": MOVING, "packets": stage["difference"]})
    return {"name": _STAGES[stage["stage"]], "packets": stage["packets"], "parts": parts}


def _named(part: str) -> tuple[str, str]:
    """A part that is not known, of an agent or hub newer than this page, is taken for what its name says."""
    known = PARTS.get(part)
    if known:
        return known
    kind = LOST if part.startswith(("dropped_", "rejected_", "lost_")) else THERE
    return kind, part.replace("_", " ")


def _total(stages: list[dict[str, Any]], kind: str) -> Counter[str]:
    total: Counter[str] = Counter()
    for stage in stages:
        for part, packets in stage["parts"].items():
            if packets and _named(part)[0] == kind:
                total[_named(part)[1]] += packets
    return total


def _causes(total: Counter[str]) -> list[dict[str, Any]]:
    return [{"name": name, "packets": packets} for name, packets in total.most_common()]


def _gap(gap: dict[str, Any]) -> str:
    end = f"to {_time(gap['end_ns'])} UTC" if gap["end_ns"] else "on"
    who = f"{gap['agent']}: " if gap["agent"] else ""
    return f"{who}{_GAPS.get(gap['what'], gap['what'])}, from {_time(gap['start_ns'])} UTC {end}"


def _time(ns: int) -> str:
    return f"{datetime.fromtimestamp(ns // 1_000_000_000, UTC):%Y-%m-%d %H:%M:%S}"
