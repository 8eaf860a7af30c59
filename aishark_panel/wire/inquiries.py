"""What a hub can ask an agent about its host, and the answers: which interfaces there are, what a filter would keep.

An inquiry changes nothing, and an agent answers each one by its number, with a reason where it cannot or may not.
They are control messages; wire/messages.py reads and writes them.
"""

from collections.abc import Mapping
from typing import Annotated, Final

import msgspec

__all__ = [
    "MAX_TRIAL_S",
    "FilterTrial",
    "HostInterface",
    "HostInterfaces",
    "ListInterfaces",
    "TryFilter",
    "trial_line",
]

MAX_TRIAL_S: Final = 10.0
"""Longest trial of a filter, seconds."""

Count = Annotated[int, msgspec.Meta(ge=0)]
Text = Annotated[str, msgspec.Meta(max_length=200)]
Reason = Annotated[str, msgspec.Meta(max_length=1_000)]


class ListInterfaces(msgspec.Struct, frozen=True, kw_only=True, tag="list_interfaces"):
    """Hub asks which interfaces the agent's host has."""

    number: Count
    """names this inquiry in the answer"""


class HostInterface(msgspec.Struct, frozen=True, kw_only=True):
    """One interface of the agent's host, and what passed it lately, in both directions together."""

    name: Text
    up: bool
    addresses: Annotated[tuple[Text, ...], msgspec.Meta(max_length=1_000)] = ()
    """IP addresses as text"""
    packets_per_s: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    bits_per_s: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    """as the interface counts them, whatever is captured"""
    captured: bool = False
    """whether the agent captures it"""
    allowed: bool = True
    """whether the hub may ask for it"""


class HostInterfaces(msgspec.Struct, frozen=True, kw_only=True, tag="host_interfaces"):
    """Agent's answer to ListInterfaces."""

    answers: Count
    interfaces: Annotated[tuple[HostInterface, ...], msgspec.Meta(max_length=1_000)] = ()
    reason: Reason = ""
    """why there is no answer; '' when there is"""


class TryFilter(msgspec.Struct, frozen=True, kw_only=True, tag="try_filter"):
    """Hub asks what share of the traffic a capture filter would keep; the capture goes on as it is."""

    number: Count
    filter: Annotated[str, msgspec.Meta(max_length=8_000)]
    """capture filter (BPF), on top of the agent's own"""
    seconds: Annotated[float, msgspec.Meta(ge=0.1, le=MAX_TRIAL_S)] = 2.0
    """how long to look"""


class FilterTrial(msgspec.Struct, frozen=True, kw_only=True, tag="filter_trial"):
    """Agent's answer to TryFilter: what it saw in that time, with the packets' lengths on the wire."""

    answers: Count
    reason: Reason = ""
    """why there is no answer; '' when there is"""
    seconds: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    packets: Count = 0
    bytes: Count = 0
    """what the agent's own filter lets through"""
    passed_packets: Count = 0
    passed_bytes: Count = 0
    """what of it the filter on trial lets through, too"""
    missed_packets: Count = 0
    """packets that came too fast to be looked at; of the others the figures are exact"""


def trial_line(trial: Mapping[str, float]) -> str:
    """The figures of a FilterTrial as a sentence for people."""
    if not trial["packets"]:
        return f"No packet came within {trial['seconds']:g} s."
    kept = 100 * trial["passed_packets"] / trial["packets"]
    kept_bytes = 100 * trial["passed_bytes"] / (trial["bytes"] or 1)
    line = (
        f"It would keep {kept:.1f} % of the packets ({trial['passed_packets']:,} of {trial['packets']:,}) and "
        f"{kept_bytes:.1f} % of the bytes, as seen for {trial['seconds']:g} s."
    )
    return line + (
        f" {trial['missed_packets']:,} packets came too fast to be looked at." if trial["missed_packets"] else ""
    )
