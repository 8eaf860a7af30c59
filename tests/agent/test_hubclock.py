"""The hub's clock from heartbeats, whatever the network and the clocks do."""

from hypothesis import given
from hypothesis import strategies as st

from aishark_panel.agent.hubclock import HubClock

S = 1_000_000_000


def test_nothing_is_known_before_the_first_answer() -> None:
    assert (HubClock().round_trip_ns, HubClock().offset_ns(5, 7)) == (0, 0)


@given(
    offset=st.integers(-(10**15), 10**15),
    delays=st.lists(st.tuples(st.integers(0, S), st.integers(0, S)), min_size=1, max_size=20),
)
def test_the_offset_is_wrong_by_half_the_shortest_round_trip_at_most(
    offset: int, delays: list[tuple[int, int]]
) -> None:
    clock = HubClock()
    wall_ahead = 1_700_000_000 * S  # of the monotonic clock
    for i, (there, back) in enumerate(delays):
        sent = 2 * S * i
        clock.heard(sent, sent + there + wall_ahead + offset, sent + there + back)
    shortest = min(sum(delay) for delay in delays[-8:])
    found = clock.offset_ns(99 * S + wall_ahead, 99 * S)
    if found:
        assert abs(found - offset) <= shortest / 2 + 1
    else:  # it may be nothing
        assert abs(offset) <= shortest + 1
    assert clock.round_trip_ns == sum(delays[-1])


def test_a_step_of_this_hosts_clock_changes_the_offset_at_once() -> None:
    clock = HubClock()
    clock.heard(0, 1_000 * S, 0)
    assert clock.offset_ns(990 * S, 0) == 10 * S
    assert clock.offset_ns(990 * S - 3_600 * S, 0) == 3_610 * S


def test_a_step_of_the_hubs_clock_is_believed() -> None:
    clock = HubClock()
    clock.heard(0, 1_000 * S, 10)  # a better round trip than all that follow
    clock.heard(2 * S, 1_062 * S, 2 * S + 1_000)
    assert abs(clock.offset_ns(1_002 * S, 2 * S) - 60 * S) <= 500
