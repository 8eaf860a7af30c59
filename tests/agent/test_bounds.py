"""The owner of a host has the last word: what goes beyond a bound is refused, and the bound is named."""

from typing import Any

import pytest

from aishark_panel.agent.bounds import Bounds
from aishark_panel.agent.scope import CaptureScope
from aishark_panel.errors import ConfigError
from aishark_panel.wire.messages import CaptureSettings, PayloadPolicy

OWN = CaptureScope(interfaces=("eth0",), filter="not port 22", snaplen=256, max_packets_per_second=1_000)
WIDE = Bounds(interfaces=("eth0", "eth1"), snaplen=1_500, max_packets_per_second=5_000)
NOTHING = CaptureSettings(interfaces=(), filter="", snaplen=262_144, sampling=1, max_packets_per_second=0)


@pytest.mark.parametrize(
    ("bounds", "asked", "words"),
    [
        (Bounds(), {"snaplen": 257}, "at most 256 bytes of a frame (agent.snaplen); 257 were asked for"),
        (WIDE, {"snaplen": 1_501}, "at most 1,500 bytes of a frame (allow.snaplen); 1,501 were asked for"),
        (Bounds(), {"max_packets_per_second": 1_001}, "at most 1,000 packets/s (performance.max_packets_per_second)"),
        (WIDE, {"max_packets_per_second": 5_001}, "at most 5,000 packets/s (allow.max_packets_per_second)"),
        (Bounds(), {"interfaces": ("eth1",)}, "the interfaces eth0 (agent.interfaces), not 'eth1'"),
        (WIDE, {"interfaces": ("eth0", "lo")}, "the interfaces eth0, eth1 (allow.interfaces), not 'lo'"),
        (WIDE, {"interfaces": ("any",)}, "(allow.interfaces), not 'any'"),
        (Bounds(remote_control=False), {"filter": "udp"}, "change and ask nothing (allow.remote_control)"),
    ],
)
def test_what_goes_beyond_a_bound_is_refused_and_the_bound_named(
    bounds: Bounds, asked: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        bounds.scope(OWN, CaptureSettings(**asked))
    assert words in str(caught.value)


def test_what_keeps_to_the_bounds_is_done_even_beyond_the_own_setting() -> None:
    scope = WIDE.scope(OWN, CaptureSettings(interfaces=("eth1",), snaplen=1_500, max_packets_per_second=5_000))
    assert (scope.interfaces, scope.snaplen, scope.max_packets_per_second) == (("eth1",), 1_500, 5_000)
    assert Bounds(interfaces=("any",)).scope(OWN, CaptureSettings(interfaces=("wg7",))).interfaces == ("wg7",)


@pytest.mark.parametrize("bounds", [Bounds(), WIDE, Bounds(remote_control=False), Bounds(max_packets_per_second=5)])
def test_the_own_configuration_is_always_allowed(bounds: Bounds) -> None:
    assert bounds.scope(OWN, CaptureSettings()) == OWN
    assert bounds.scope(OWN, NOTHING) == OWN
    assert bounds.scope(CaptureScope(), NOTHING) == CaptureScope()


def test_no_limit_of_ones_own_is_no_bound() -> None:
    asked = CaptureSettings(max_packets_per_second=10**6)
    assert Bounds().scope(CaptureScope(), asked).max_packets_per_second == 10**6


def test_interfaces_that_may_be_asked_for() -> None:
    assert [name for name in ("eth0", "eth1", "lo") if WIDE.allows(name, OWN)] == ["eth0", "eth1"]
    assert not Bounds(remote_control=False).allows("eth0", OWN)


ORDER: list[PayloadPolicy] = ["none", "headers", 1, 64, 262_144, "full"]
"""Less first."""


@pytest.mark.parametrize("own", ORDER)
@pytest.mark.parametrize("asked", ORDER[:-1])
def test_no_policy_that_sends_more_than_the_own_one_or_than_is_allowed(
    own: PayloadPolicy, asked: PayloadPolicy
) -> None:
    settings = CaptureSettings(payload=asked)
    if ORDER.index(asked) <= ORDER.index(own):
        assert Bounds().scope(CaptureScope(payload=own), settings).payload == asked
    else:
        with pytest.raises(ConfigError, match=r"agent\.payload"):
            Bounds().scope(CaptureScope(payload=own), settings)
    assert Bounds(payload="full").scope(CaptureScope(payload=own), settings).payload == asked
    assert Bounds().scope(CaptureScope(payload=own), CaptureSettings(payload="full")).payload == own
