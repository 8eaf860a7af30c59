"""Losses become intervals of time."""

from aishark_panel.streams.agentrun import AgentRun
from aishark_panel.streams.losses import MAX_LOSSES, Losses
from tests.traffic import hello

S = 1_000_000_000


def test_what_counters_grow_by_is_noted_when_it_was_seen() -> None:
    edge, core = AgentRun(hello(run="a" * 32)), AgentRun(hello(agent="core", run="b" * 32))
    edge.counters = {"kernel_dropped": 1_000, "captured": 5}
    losses = Losses()
    losses.look([edge], 10 * S)  # when these were lost nobody knows
    edge.counters = {"kernel_dropped": 1_003, "dropped_queue_full": 4, "captured": 9}
    losses.look([edge, core], 11 * S)
    core.counters = {"lost_in_agent_crash": 2}
    losses.look([edge, core], 12 * S)
    edge.counters = {"kernel_dropped": 1_004, "dropped_queue_full": 4}
    losses.look([edge, core], 13 * S)
    losses.look([edge, core], 19 * S)
    edge.counters = {"kernel_dropped": 1_005, "dropped_queue_full": 4}
    losses.look([edge, core], 20 * S)
    assert list(losses) == [
        {"agent": "edge", "packets": 8, "start_ns": 10 * S, "end_ns": 13 * S},
        {"agent": "core", "packets": 2, "start_ns": 11 * S, "end_ns": 12 * S},
        {"agent": "edge", "packets": 1, "start_ns": 19 * S, "end_ns": 20 * S},
    ]


def test_there_is_an_end_to_what_is_remembered() -> None:
    edge, losses = AgentRun(hello()), Losses()
    for k in range(2 * MAX_LOSSES):
        edge.counters = {"kernel_dropped": k}
        losses.look([edge], 10 * k * S)
        losses.look([edge], (10 * k + 5) * S)
    assert len(list(losses)) == MAX_LOSSES
