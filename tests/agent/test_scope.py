"""The owner of a host has the last word: what the hub asks for narrows an agent's scope and never widens it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aishark_panel.agent.scope import CaptureScope
from aishark_panel.errors import FilterError
from aishark_panel.wire.messages import CaptureSettings, PayloadPolicy

OWN = CaptureScope(filter="not port 22", snaplen=256, sampling=4, max_packets_per_second=1_000, max_bits_per_s=9)
MAYBE = st.none() | st.integers(1, 5_000)


@given(MAYBE, MAYBE, MAYBE)
def test_nothing_asked_for_goes_beyond_the_own_limits(
    snaplen: int | None, sampling: int | None, rate: int | None
) -> None:
    if snaplen is not None:
        snaplen += 13
    scope = OWN.narrowed(CaptureSettings(snaplen=snaplen, sampling=sampling, max_packets_per_second=rate))
    assert scope.snaplen == min(256, snaplen or 256)
    assert scope.sampling == max(4, sampling or 4)
    assert scope.max_packets_per_second == min(1_000, rate or 1_000)
    assert (scope.filter, scope.max_bits_per_s) == ("not port 22", 9)


def test_no_limit_is_the_loosest_limit() -> None:
    assert OWN.narrowed(CaptureSettings(max_packets_per_second=0)).max_packets_per_second == 1_000
    assert CaptureScope().narrowed(CaptureSettings(max_packets_per_second=5)).max_packets_per_second == 5


def test_filters_add_up() -> None:
    assert OWN.narrowed(CaptureSettings(filter="udp or icmp")).filter == "(not port 22) and (udp or icmp)"
    assert OWN.narrowed(CaptureSettings(filter="")).filter == "not port 22"
    assert CaptureScope().narrowed(CaptureSettings(filter=" udp\n ")).filter == "udp"


@pytest.mark.parametrize("trick", ["udp) or (tcp", "udp) or (port 22", "((udp)"])
def test_a_filter_cannot_undo_the_own_one(trick: str) -> None:
    with pytest.raises(FilterError, match="parentheses"):
        OWN.narrowed(CaptureSettings(filter=trick))


ORDER: list[PayloadPolicy] = ["none", "headers", 1, 64, 262_144, "full"]
"""Less first."""


@pytest.mark.parametrize("own", ORDER)
@pytest.mark.parametrize("asked", ORDER)
def test_of_two_payload_policies_the_one_that_sends_less_holds(own: PayloadPolicy, asked: PayloadPolicy) -> None:
    scope = CaptureScope(payload=own)
    assert scope.narrowed(CaptureSettings(payload=asked)).payload == ORDER[min(ORDER.index(own), ORDER.index(asked))]
    assert scope.narrowed(CaptureSettings()).payload == own


def test_where_the_host_samples_its_own_way_to_sample_holds() -> None:
    free, bound = CaptureScope(), CaptureScope(sampling=4, sampling_by="conversation")
    assert free.narrowed(CaptureSettings(sampling=2, sampling_by="conversation")).sampling_by == "conversation"
    assert free.narrowed(CaptureSettings(sampling=2, sampling_by="")).sampling_by == "packet"
    assert bound.narrowed(CaptureSettings(sampling=9, sampling_by="packet")).sampling_by == "conversation"
    assert bound.narrowed(CaptureSettings()).sampling_by == "conversation"
