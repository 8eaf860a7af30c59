"""The places of a run's interfaces: numbers that stay true while the hub chooses other interfaces.

Frames name their interface by its place in the list that the hub knows, and batches wait in the outbox while that list
changes. So it only grows, up to MAX_PLACES: an interface that is captured again has its old place. What finds no place
any more goes by the name of `any`, if that is what is captured.
"""

from collections.abc import Iterable
from typing import Final

import numpy as np

from aishark_panel.agent.cooked import ANY
from aishark_panel.agent.source import SourceInterface
from aishark_panel.errors import CaptureError
from aishark_panel.wire.frames import Frames
from aishark_panel.wire.messages import InterfaceInfo

__all__ = ["MAX_PLACES", "Places"]

MAX_PLACES: Final = 1_000
"""As many interfaces an agent may announce (wire.messages.Hello)."""

_MAX_FILTERS: Final = 32_768
"""Characters of all filters together that are told; names and the rest stay below wire.messages.MAX_CONTROL_BYTES."""


class Places:
    """Every interface that a run captured so far, in the order of their places; `known`: those of an earlier life."""

    def __init__(self, known: Iterable[InterfaceInfo] = ()) -> None:
        self._known = [SourceInterface(i.name, i.link_type, i.snaplen, i.filter) for i in known]
        self._of_source = np.empty(0, np.uint16)
        """place of each of the source's interfaces"""
        self._same = True
        self.link_types = np.empty(0, np.int32)
        """LINKTYPE number by place"""

    def follow(self, interfaces: list[SourceInterface]) -> None:
        """These are the source's interfaces from now on. CaptureError where one finds no place."""
        places: list[int] = []
        for interface in interfaces:
            place = self._place(interface, places)
            if place < MAX_PLACES:
                self._known[place : place + 1] = [interface]
                places.append(place)
            elif places and interfaces[0].name == ANY:
                places.append(places[0])
            else:
                raise CaptureError(f"An agent can tell {MAX_PLACES:,} interfaces apart; {interface.name} is one more.")
        self._of_source = np.array(places, np.uint16)
        self._same = places == list(range(len(places)))
        self.link_types = np.array([interface.link_type for interface in self._known], np.int32)

    def _place(self, interface: SourceInterface, taken: list[int]) -> int:
        """The first place of such an interface that is not taken; behind the last where there is none."""
        for place, known in enumerate(self._known):
            if (known.name, known.link_type) == (interface.name, interface.link_type) and place not in taken:
                return place
        return len(self._known)

    def __len__(self) -> int:
        """How many interfaces the source has now."""
        return len(self._of_source)

    def renumber(self, frames: Frames) -> Frames:
        """The source's frames with the places of their interfaces."""
        if self._same:
            return frames
        return Frames(frames.ts, frames.orig_len, self._of_source[frames.iface], frames.offsets, frames.data)

    def infos(self) -> tuple[InterfaceInfo, ...]:
        """What the hub is told of them."""
        captured = set(self._of_source.tolist())
        # A message has a limit: what so many interfaces are called is needed, with which filter can be asked elsewhere.
        tell_filters = sum(len(i.filter) for i in self._known) <= _MAX_FILTERS
        return tuple(
            InterfaceInfo(
                name=i.name,
                link_type=i.link_type,
                snaplen=i.snaplen,
                filter=i.filter if tell_filters else "",
                captured=place in captured,
            )
            for place, i in enumerate(self._known)
        )
