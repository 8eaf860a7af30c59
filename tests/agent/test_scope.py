"""What a hub asks of a capture goes over the agent's own configuration, whose filter always holds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aishark_panel.agent.scope import CaptureScope
from aishark_panel.errors import FilterError
from aishark_panel.wire.messages import CaptureSettings

OWN = CaptureScope(
    interfaces=("eth0",),
    filter="not port 22",
    snaplen=256,
    sampling=4,
    max_packets_per_second=1_000,
    max_bits_per_s=9,
)
MAYBE = st.none() | st.integers(1, 5_000)


@given(MAYBE, MAYBE, MAYBE)
def test_what_is_asked_for_takes_the_place_of_the_own_setting(
    snaplen: int | None, sampling: int | None, rate: int | None
) -> None:
    if snaplen is not None:
        snaplen += 13
    scope = OWN.adjusted(CaptureSettings(snaplen=snaplen, sampling=sampling, max_packets_per_second=rate))
    assert scope.snaplen == (snaplen or 256)
    assert scope.sampling == max(4, sampling or 4)
    assert scope.max_packets_per_second == (rate or 1_000)
    assert (scope.interfaces, scope.filter, scope.max_bits_per_s) == (("eth0",), "not port 22", 9)


def test_there_is_a_word_for_as_the_own_configuration_has_it() -> None:
    own = CaptureSettings(interfaces=(), filter="", snaplen=262_144, sampling=1, max_packets_per_second=0)
    assert OWN.adjusted(own) == OWN


def test_filters_add_up() -> None:
    assert OWN.adjusted(CaptureSettings(filter="udp or icmp")).filter == "(not port 22) and (udp or icmp)"
    assert CaptureScope().adjusted(CaptureSettings(filter=" udp\n ")).filter == "udp"


@pytest.mark.parametrize("trick", ["udp) or (tcp", "udp) or (port 22", "((udp)"])
def test_a_filter_cannot_undo_the_own_one(trick: str) -> None:
    with pytest.raises(FilterError, match="parentheses"):
        OWN.adjusted(CaptureSettings(filter=trick))


def test_where_the_host_samples_its_own_way_to_sample_holds() -> None:
    free, bound = CaptureScope(), CaptureScope(sampling=4, sampling_by="conversation")
    assert free.adjusted(CaptureSettings(sampling=2, sampling_by="conversation")).sampling_by == "conversation"
    assert free.adjusted(CaptureSettings(sampling=2, sampling_by="")).sampling_by == "packet"
    assert bound.adjusted(CaptureSettings(sampling=9, sampling_by="packet")).sampling_by == "conversation"
    assert bound.adjusted(CaptureSettings()).sampling_by == "conversation"
