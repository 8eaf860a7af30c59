"""The runs of agents that feed a session, by their ids: who comes, who is away, and whom there is no room to remember.

Agents come on the event loop, and runs of a journal on the ingest worker; whoever goes over them goes over a copy.
"""

from collections.abc import Callable, Iterator
from typing import Final, Literal

from aishark_panel.streams.agentrun import AgentRun
from aishark_panel.streams.interfaces import Interfaces, characters_of
from aishark_panel.streams.segments import Gap
from aishark_panel.wire.messages import Hello, InterfaceInfo
from aishark_panel.wire.pcapheaders import CaptureInterface

__all__ = ["Runs"]

MAX_GONE_RUNS: Final = 100
MAX_GONE_CHARACTERS: Final = 2**22
"""Runs that are remembered after they left, and what they say of their interfaces."""


class Runs:
    """A session's runs, oldest first, and the interfaces they name. `forgot` is told the id of a run that made room."""

    def __init__(self, forgot: Callable[[str], None]) -> None:
        self.interfaces = Interfaces()
        self.forgotten = 0
        """that left, and had to make room for newer ones"""
        self._forgot = forgot
        self._known: dict[str, AgentRun] = {}

    def __iter__(self) -> Iterator[AgentRun]:
        return iter(list(self._known.values()))

    def get(self, run_id: str) -> AgentRun | None:
        """The run of that id, if it is known."""
        return self._known.get(run_id)

    def add(self, run: AgentRun) -> AgentRun:
        """The run of that id that is known, else this one from now on."""
        return self._known.setdefault(run.hello.run, run)

    def attach(self, hello: Hello) -> AgentRun:
        """Register an agent's run, or find it again after a reconnection; ProtocolError beyond `interfaces`' bounds."""
        run = self.add(AgentRun(hello))
        run.is_new_life |= hello.down_until_ns != run.hello.down_until_ns
        run.hello = hello
        run.follow(hello)
        self.set_interfaces(run, hello.interfaces)
        run.connected, run.reason, run.ended, run.capturing = True, "", False, hello.capturing
        self._forget_old()
        return run

    def set_interfaces(self, run: AgentRun, interfaces: tuple[InterfaceInfo, ...]) -> None:
        """The agent's interfaces changed; frames that follow refer to the new list."""
        run.iface_codes, run.link_types = self.interfaces.register(run.hello, interfaces)
        run.interfaces = interfaces

    def described_interfaces(self) -> list[CaptureInterface]:
        """What capture files say of each of `interfaces`."""
        return self.interfaces.described(self)

    def end_of_gap(self, run: AgentRun, now_ns: int, *, since_ns: int) -> Gap | None:
        """A run came, or came back: the time in which nothing was heard of its agent, if there was one.

        A run that was away before `since_ns`, when this hub was started, has that in the hub's own gap.
        """
        left_ns, run.left_ns = run.left_ns, 0
        if run.is_new_life:
            run.is_new_life, hello = False, run.hello
            return Gap(what="agent", agent=hello.agent, start_ns=hello.down_since_ns, end_ns=hello.down_until_ns)
        what: Literal["agent", "connection"] = "connection"
        if not left_ns:
            before = [other for other in self if other.left_ns and other.hello.agent == run.hello.agent]
            left_ns, what = max((other.left_ns for other in before), default=0), "agent"
            for other in before:
                other.left_ns = 0
        elif left_ns < since_ns:
            return None
        return Gap(what=what, agent=run.hello.agent, start_ns=left_ns, end_ns=now_ns) if left_ns else None

    @property
    def source(self) -> str:
        """Where their packets come from: live, synthetic, replay; mixed; '' if nobody brought any."""
        sources = {run.hello.source for run in self}
        return sources.pop() if len(sources) == 1 else ("mixed" if sources else "")

    def _forget_old(self) -> None:
        gone = [run for run in self if not run.connected]
        gone.sort(key=lambda run: run.left_ns)  # those that ended first: who is away may come back
        characters = [characters_of(run.hello, run.interfaces) for run in gone]
        most = sum(characters)
        for count, (run, its) in enumerate(zip(gone, characters, strict=True)):
            if len(gone) - count <= MAX_GONE_RUNS and most <= MAX_GONE_CHARACTERS:
                break
            most -= its
            self.forgotten += 1
            del self._known[run.hello.run]
            self._forgot(run.hello.run)
