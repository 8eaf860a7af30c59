"""What a ledger must fulfil, worked out from its parts alone: for every test that drains a session."""

from typing import Any

__all__ = ["identities", "is_drained"]

PARTS = {
    "capture": {"kernel_dropped", "in_kernel_ring", "captured"},
    "agent": {
        "sampled_out", "throttled", "lost_in_agent_crash", "in_encoder", "outbox", "spooled", "taken_elsewhere",
        "taken",
    },
    "hub": {"ingested", "in_hub_queue"},
    "ring": {"in_merge", "in_ring", "evicted", "cleared", "lost_in_hub_crash", "failed"},
}  # fmt: skip
"""Parts of each stage; beside them an agent has dropped_* and a hub rejected_*."""
ON_ITS_WAY = {"in_kernel_ring", "in_encoder", "outbox", "spooled", "in_hub_queue", "in_merge"}


def identities(ledger: dict[str, Any]) -> list[str]:
    """What does not add up in a session's ledger, in words; nothing once the session is drained."""
    wrong = []
    for agent in ledger["agents"]:
        stages = {stage["stage"]: stage for stage in agent["stages"]}
        wrong += [f"{agent['agent']} {text}" for stage in stages.values() for text in _violations(stage)]
        for upper, lower, what in (("capture", "agent", "captured"), ("agent", "hub", "taken")):
            if upper in stages and lower in stages and stages[upper]["parts"][what] != stages[lower]["packets"]:
                wrong.append(f"{agent['agent']}: {what} differs between {upper} and {lower}")
    ingested = sum(
        stage["parts"]["ingested"] for a in ledger["agents"] for stage in a["stages"] if stage["stage"] == "hub"
    )
    if ingested != ledger["ring"]["packets"]:
        wrong.append(f"the agents' {ingested} ingested packets are not the ring's {ledger['ring']['packets']}")
    return wrong + _violations(ledger["ring"])


def _violations(stage: dict[str, Any]) -> list[str]:
    name, parts = stage["stage"], stage["parts"]
    own = {part for part in parts if not part.startswith(("dropped_", "rejected_"))}
    wrong = [f"{name} lacks {part} or does not know it" for part in own ^ PARTS[name]]
    wrong += [f"{name}: {part} is {count}" for part, count in parts.items() if count < 0]
    difference = stage["packets"] - sum(parts.values())
    if difference or stage["difference"]:
        wrong.append(f"{name}: {stage['packets']} {stage['what']} and {parts} differ by {difference}")
    return wrong


def is_drained(ledger: dict[str, Any]) -> bool:
    """Whether nothing is on its way, and every packet accounted for."""
    stages = [*(stage for agent in ledger["agents"] for stage in agent["stages"]), ledger["ring"]]
    waiting = sum(stage["parts"].get(part, 0) for stage in stages for part in ON_ITS_WAY)
    return not waiting and not identities(ledger)
