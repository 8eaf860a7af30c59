"""Agents: who captures what on which host, and starting, changing and stopping them; profiles, and adding an agent.

What is changed goes to the capture that runs: a capture filter, interfaces, and how much of each packet is sent.
"""

import time
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, ClassVar, Final

from aishark_panel.errors import AisharkError
from aishark_panel.views.agent_wizard import Wizard
from aishark_panel.views.base import Element, View
from aishark_panel.views.feed import Feed
from aishark_panel.views.theme import script
from aishark_panel.wire.inquiries import trial_line

__all__ = ["Agents"]

_RATE_SPAN_S: Final = 4.0
"""Rates are means over this time: an agent's counters move with its batches, in steps."""
_LOST: Final = ("kernel_dropped", "dropped_")
_LEFT_OUT: Final = ("sampled_out", "throttled")

_MAX_SNAPLEN: Final = 262_144
_NUMBERS: Final = ("snaplen", "sampling", "max_packets_per_second")
_WORDS: Final = {"payload": ("none", "headers", "full"), "sampling_by": ("packet", "conversation")}
"""What a page may set of how much an agent sends."""

_Sample = tuple[float, int, dict[str, tuple[int, int]]]
"""moment, packets of an agent, packets and bytes by interface"""


class AgentsElement(Element):
    _esm = script("copy.js", "menu.js", "agent_controls.js", "agent_profiles.js", "agent_wizard.js", "agents.js")


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
        self._wizard = Wizard(feed)
        self._profile_answer = ""
        """why a profile was not saved or forgotten"""
        self.root = AgentsElement(
            self._receive, "agents.css", css_classes=["agents"], sizing_mode="stretch_both", margin=0
        )

    async def pull(self) -> None:
        try:
            agents = await self.feed.client.agents()
            self._profiles = await self.feed.client.profiles()
            self._problem = ""
        except AisharkError as error:
            self._problem = str(error)
            return
        # At once, for it may be painted while a question is under way.
        now_s = self._clock()
        self._agents, self._samples = agents, {agent["id"]: self._sampled(agent, now_s) for agent in agents}
        self._wizard.look(agents)

    def _sampled(self, agent: dict[str, Any], now_s: float) -> deque[_Sample]:
        samples = self._samples.get(agent["id"], deque())
        if samples and agent["packets"] < samples[-1][1]:
            samples.clear()  # it went to another session, or started anew
        seen = {i["name"]: (i["packets"], i["bytes"]) for i in agent["interfaces"]}
        samples.append((now_s, agent["packets"], seen))
        while len(samples) > 2 and samples[1][0] <= now_s - _RATE_SPAN_S:
            samples.popleft()
        return samples

    def paint(self) -> None:
        self.root.draw(
            agents=[self._line(agent) for agent in self._agents],
            profiles=[{"name": p["name"], "text": _settings(p)} for p in self._profiles],
            profile_answer=self._profile_answer,
            wizard=self._wizard.state,
            may="capture" in self.feed.rights or "admin" in self.feed.rights,
            problem=self._problem,
        )

    def _line(self, agent: dict[str, Any]) -> dict[str, Any]:
        samples = self._samples[agent["id"]]
        (then_s, before, seen_before), (now_s, after, seen) = samples[0], samples[-1]
        counters = agent["counters"]
        return {
            "id": agent["id"],
            "name": agent["name"],
            "state": agent["state"],
            "reason": agent["reason"],
            "live": agent["source"] == "live",
            "choice": self._choices.get(agent["id"]),
            "registered": agent["registered"],
            "since": _since(agent),
            "origin": " · ".join(filter(None, (agent["host"], agent["os"], agent["source"], agent["version"]))),
            "here": agent["session"] == self.feed.session,
            "session": agent["session_name"],
            "interfaces": [
                {
                    "name": i["name"],
                    "filter": i["filter"],
                    **_rates(seen_before.get(i["name"]), seen[i["name"]], now_s - then_s),
                }
                for i in agent["interfaces"]
            ],
            "sends": _sends(agent),
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
                chosen, more = _names(message.get("interfaces")), _chosen(message.get("settings"))
                start = client.agent_start(
                    agent, session=session, profile=profile, filter=wanted, interfaces=chosen, **more
                )
                await self._order(agent, self._started(agent, start))
            case {"stop": str(agent)}:
                await self._order(agent, _stopped(client.agent_stop(agent)))
            case {"try": str(agent), "filter": str(wanted)}:
                await self._order(agent, _tried(client.agent_try(agent, wanted)), "Looking at its traffic …")
            case {"interfaces": str(agent)}:
                await self._order(agent, self._listed(agent), "Counting for a second …")
            case {"forget": str(agent)}:
                await self._order(agent, self._forgotten(agent))
            case {"profile": str(name), "filter": str(wanted), "settings": dict(given)}:
                await self._keep(client.profile_save(name.strip(), filter=wanted.strip() or None, **_chosen(given)))
            case {"profile_delete": str(name)}:
                await self._keep(client.profile_delete(name))
            case _:
                await self._receive_of_wizard(message)

    async def _receive_of_wizard(self, message: Any) -> None:
        wizard = self._wizard
        try:
            match message:
                case {"wizard": "open"}:
                    wizard.open()
                case {"wizard": "close"}:
                    wizard.close()
                case {"register": str(name), "interface": str(interface)}:
                    await wizard.register(name, interface)
                case {"new_key": str(agent)}:
                    await wizard.replace_key(agent)
        except AisharkError as error:
            wizard.state = {**(wizard.state or {"step": "name", "interface": ""}), "problem": str(error)}
        await self.pull()
        self.paint()

    async def _forgotten(self, agent: str) -> str:
        await self.feed.client.agent_delete(agent)
        return ""

    async def _keep(self, order: Awaitable[None]) -> None:
        """Save or forget a profile; the answer is told only where it went wrong."""
        try:
            await order
            self._profile_answer = ""
        except AisharkError as error:
            self._profile_answer = str(error)
        await self.pull()
        self.paint()

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


def _chosen(given: object) -> dict[str, Any]:
    """The settings that a page filled in; what it left open stays as it is."""
    given = given if isinstance(given, dict) else {}
    numbers = {name: given[name] for name in _NUMBERS if type(given.get(name)) is int}
    words = {name: given[name] for name, known in _WORDS.items() if given.get(name) in known}
    return numbers | words


def _rates(before: tuple[int, int] | None, after: tuple[int, int], seconds: float) -> dict[str, int | None]:
    """Packets/s and bits/s between two counts of packets and bytes; None where they are not known yet."""
    if before is None or seconds <= 0 or after[0] < before[0]:
        return {"packets_per_s": None, "bits_per_s": None}
    packets, sizes = after[0] - before[0], after[1] - before[1]
    return {"packets_per_s": round(packets / seconds), "bits_per_s": round(8 * sizes / seconds)}


def _since(agent: dict[str, Any]) -> str:
    """When an agent that is away was here last; '' if it is here, or never was."""
    if agent["state"] != "offline" or not agent["last_seen_ns"]:
        return ""
    return f"{datetime.fromtimestamp(agent['last_seen_ns'] // 10**9, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _sends(agent: dict[str, Any]) -> str:
    """What an agent leaves out of what it captures, in a line; '' if it sends all."""
    if agent["state"] == "offline":
        return ""
    snaplen = min((i["snaplen"] for i in agent["interfaces"]), default=_MAX_SNAPLEN)
    said = {
        "filter": None,
        "snaplen": snaplen if snaplen < _MAX_SNAPLEN else None,
        "payload": agent["payload"] if agent["payload"] != "full" else None,
        "sampling": agent["sampling"] if agent["sampling"] > 1 else None,
        "sampling_by": agent["sampling_by"] if agent["sampling"] > 1 else None,
        "max_packets_per_second": agent["max_packets_per_second"],
    }
    return "" if not any(said.values()) else _settings(said)


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
