"""Agents: who captures what on which host, and starting, changing and stopping them with a capture filter, a profile or
other interfaces."""

import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, Final

from aishark_panel.errors import AisharkError
from aishark_panel.views.base import Element, View
from aishark_panel.views.feed import Feed
from aishark_panel.views.theme import script
from aishark_panel.wire.inquiries import trial_line

__all__ = ["Agents"]

_RATE_SPAN_S: Final = 4.0
"""Rates are means over this time: an agent's counters move with its batches, in steps."""
_LOST: Final = ("kernel_dropped", "dropped_")
_LEFT_OUT: Final = ("sampled_out", "throttled")

_Sample = tuple[float, int]


class AgentsElement(Element):
    _esm = script("agents.js")


class Agents(View):
    """All agents of the hub. An order's answer, or why it failed, stays beside its agent until the next order.

    The interfaces of an agent's host are asked for when somebody wants to choose among them.
    """

    root: AgentsElement
    every: ClassVar[int] = 2

    def __init__(self, feed: Feed, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(feed)
        self._clock = clock
        self._agents: list[dict[str, Any]] = []
        self._profiles: list[dict[str, Any]] = []
        self._samples: dict[str, deque[_Sample]] = {}
        self._answers: dict[str, dict[str, Any]] = {}
        self._orders = 0
        self._choices: dict[str, dict[str, Any]] = {}
        """interfaces to choose among, by the agent's id: the number of the order that asked, and they"""
        self._problem = ""
        self.root = AgentsElement(
            self._receive, "agents.css", css_classes=["agents"], sizing_mode="stretch_both", margin=0
        )

    async def pull(self) -> None:
        try:
            self._agents = await self.feed.client.agents()
            self._profiles = await self.feed.client.profiles()
            self._problem = ""
        except AisharkError as error:
            self._problem = str(error)
        now_s = self._clock()
        self._samples = {agent["id"]: self._sampled(agent, now_s) for agent in self._agents}

    def _sampled(self, agent: dict[str, Any], now_s: float) -> deque[_Sample]:
        samples = self._samples.get(agent["id"], deque())
        if samples and agent["packets"] < samples[-1][1]:
            samples.clear()  # it went to another session, or started anew
        samples.append((now_s, agent["packets"]))
        while len(samples) > 2 and samples[1][0] <= now_s - _RATE_SPAN_S:
            samples.popleft()
        return samples

    def paint(self) -> None:
        self.root.draw(
            agents=[self._line(agent) for agent in self._agents],
            profiles=[{"name": p["name"], "text": _settings(p)} for p in self._profiles],
            problem=self._problem,
            hub=self.feed.client.url,
        )

    def _line(self, agent: dict[str, Any]) -> dict[str, Any]:
        samples = self._samples[agent["id"]]
        (then_s, before), (now_s, after) = samples[0], samples[-1]
        counters = agent["counters"]
        return {
            "id": agent["id"],
            "name": agent["name"],
            "state": agent["state"],
            "reason": agent["reason"],
            "live": agent["source"] == "live",
            "choice": self._choices.get(agent["id"]),
            "origin": " · ".join(filter(None, (agent["host"], agent["source"], agent["version"]))),
            "here": agent["session"] == self.feed.session,
            "session": agent["session_name"],
            "interfaces": [{"name": i["name"], "filter": i["filter"]} for i in agent["interfaces"]],
            "filter": agent["settings"].get("filter") or "",
            "packets": agent["packets"],
            "packets_per_s": round((after - before) / (now_s - then_s)) if now_s > then_s else None,
            "lost": sum(n for name, n in counters.items() if name.startswith(_LOST)),
            "left_out": sum(counters.get(name, 0) for name in _LEFT_OUT),
            "round_trip_ms": round(agent["round_trip_ms"], 1),
            "clock_offset_ms": round(agent["clock_offset_ms"], 1),
            "answer": self._answers.get(agent["id"]),
        }

    async def _receive(self, message: Any) -> None:
        client = self.feed.client
        match message:
            case {"start": str(agent), "filter": str() | None as wanted, "profile": str(profile), "here": bool(here)}:
                session = self.feed.session if here else ""
                chosen = _names(message.get("interfaces"))
                start = client.agent_start(agent, session=session, profile=profile, filter=wanted, interfaces=chosen)
                await self._order(agent, self._started(agent, start))
            case {"stop": str(agent)}:
                await self._order(agent, _stopped(client.agent_stop(agent)))
            case {"try": str(agent), "filter": str(wanted)}:
                await self._order(agent, _tried(client.agent_try(agent, wanted)), "Looking at its traffic …")
            case {"interfaces": str(agent)}:
                await self._order(agent, self._listed(agent), "Counting for a second …")

    async def _started(self, agent: str, order: Awaitable[dict[str, Any]]) -> str:
        text = _obeyed(await order)
        self._choices.pop(agent, None)
        return text

    async def _listed(self, agent: str) -> str:
        order = self._orders
        interfaces = await self.feed.client.agent_interfaces(agent)
        self._choices[agent] = {"order": order, "interfaces": interfaces}
        return ""

    async def _order(self, agent: str, order: Awaitable[str], waiting: str = "Waiting for its answer …") -> None:
        """Await an order's answer in words, and show it."""
        self._orders += 1
        answer = self._answers[agent] = {"order": self._orders, "kind": "waiting", "text": waiting}
        self.paint()
        try:
            self._answers[agent] = {**answer, "kind": "good", "text": await order}
        except AisharkError as error:
            self._answers[agent] = {**answer, "kind": "bad", "text": str(error)}
        await self.pull()
        self.paint()


async def _stopped(order: Awaitable[dict[str, Any]]) -> str:
    return _obeyed(await order)


async def _tried(trial: Awaitable[dict[str, Any]]) -> str:
    return trial_line(await trial)


def _names(chosen: object) -> list[str] | None:
    """The interfaces a page chose; None where it left them."""
    return [name for name in chosen if isinstance(name, str)] if isinstance(chosen, list) else None


def _obeyed(agent: dict[str, Any]) -> str:
    """What an agent does now that it obeyed."""
    if agent["state"] != "capturing":
        return "It has stopped."
    filters = " and ".join(sorted({f"'{i['filter']}'" for i in agent["interfaces"] if i["filter"]}))
    return f"It captures with the filter {filters}." if filters else "It captures, without a filter."


def _settings(profile: dict[str, Any]) -> str:
    """What a profile sets, in a line."""
    words = {
        "filter": "filter '{}'",
        "snaplen": "{} bytes a packet",
        "payload": "payload {}",
        "sampling": "one packet in {}",
        "sampling_by": "sampled by {}",
        "max_packets_per_second": "at most {} packets/s",
    }
    return ", ".join(text.format(profile[key]) for key, text in words.items() if profile.get(key)) or "sets nothing"
