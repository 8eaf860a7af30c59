"""The interfaces of a session: packets say by a code where they were captured, and capture files describe each.

Agents name them, so what is kept of them is bounded. Agents come on the event loop, and those of a journal on the
ingest worker; codes are given once and stay.
"""

import threading
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt

from aishark_panel.errors import ProtocolError
from aishark_panel.export.capture import capture_interface
from aishark_panel.streams.agentrun import AgentRun
from aishark_panel.wire.messages import Hello, InterfaceInfo
from aishark_panel.wire.packets import Interface
from aishark_panel.wire.pcapheaders import CaptureInterface, InterfaceCounters

__all__ = ["MAX_INTERFACES", "Interfaces", "characters_of"]

MAX_INTERFACES: Final = 4_096
MAX_CHARACTERS: Final = 2**21
"""Of all that agents say of a session's interfaces."""


class Interfaces:
    """All interfaces that a session has seen, by their codes."""

    def __init__(self) -> None:
        self.known: list[Interface] = []
        self._described: list[CaptureInterface] = []
        """what capture files say of each"""
        self._codes: dict[Interface, int] = {}
        self._characters = 0
        self._lock = threading.Lock()

    def register(
        self, hello: Hello, infos: tuple[InterfaceInfo, ...]
    ) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.int32]]:
        """Codes and link types of an agent's interfaces; those not seen before get a code. ProtocolError when there are
        too many, or too much is said of them."""
        with self._lock:
            codes = [
                self._code(Interface(hello.agent, info.name, info.link_type), _described(hello, info)) for info in infos
            ]
        return np.array(codes, np.uint16), np.array([i.link_type for i in infos], np.int32)

    def _code(self, interface: Interface, described: CaptureInterface) -> int:
        code = self._codes.get(interface)
        if code is not None:
            return code
        code, characters = (
            len(self.known),
            self._characters + _characters(interface.agent, described.os, interface.name, described.filter),
        )
        if code >= MAX_INTERFACES or characters > MAX_CHARACTERS:
            raise ProtocolError(
                f"a session has at most {MAX_INTERFACES:,} interfaces, and {MAX_CHARACTERS:,} characters for their "
                "names and filters"
            )
        self._characters = characters
        self._described.append(described)
        self.known.append(interface)
        self._codes[interface] = code
        return code

    def link_type(self, agent: str, name: str) -> int:
        """The link type of an agent's interface; Ethernet where it is not known."""
        return next((i.link_type for i in self.known if (i.agent, i.name) == (agent, name)), 1)

    def adopt(self, interfaces: Iterable[Interface]) -> npt.NDArray[np.uint16]:
        """Codes of interfaces of which no more is known, as of a file."""
        with self._lock:
            return np.array([self._code(i, capture_interface(i)) for i in interfaces], np.uint16)

    def described(self, runs: Iterable[AgentRun]) -> list[CaptureInterface]:
        """What capture files say of each, with what kernels have counted there so far.

        An agent tells the sums over its interfaces, so those of an agent with several stay without counters.
        """
        described = list(self._described)
        for run in runs:
            if "kernel_dropped" in run.counters and len(run.iface_codes) == 1:
                code = int(run.iface_codes[0])
                before = described[code].counters or InterfaceCounters(accepted=0, dropped_by_system=0)
                counters = InterfaceCounters(
                    accepted=(before.accepted or 0) + run.counters.get("matched", 0),
                    dropped_by_system=(before.dropped_by_system or 0) + run.counters["kernel_dropped"],
                )
                described[code] = replace(described[code], counters=counters)
        return described


def _described(hello: Hello, info: InterfaceInfo) -> CaptureInterface:
    """What capture files say of an agent's interface."""
    return CaptureInterface(
        link_type=info.link_type,
        name=f"{hello.agent}/{info.name}",
        snaplen=info.snaplen,
        filter=info.filter,
        os=hello.os,
    )


def _characters(agent: str, os: str, name: str, capture_filter: str) -> int:
    return len(agent) + len(os) + 2 * len(name) + len(capture_filter)


def characters_of(hello: Hello, infos: Iterable[InterfaceInfo]) -> int:
    """Characters that are kept of an agent's interfaces, about."""
    return sum(_characters(hello.agent, hello.os, info.name, info.filter) for info in infos)
