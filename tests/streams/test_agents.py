"""Orders to agents and their answers, without a network: who answers what, who is too slow, who comes back."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from aishark_panel.errors import ConflictError
from aishark_panel.streams.agents import MAX_INQUIRIES, Agents, Link
from aishark_panel.streams.people import OWNER
from aishark_panel.streams.ring import MIN_LIMIT_BYTES
from aishark_panel.streams.session import Session
from aishark_panel.streams.store import Store
from aishark_panel.wire.inquiries import FilterTrial, HostInterface, HostInterfaces, ListInterfaces, TryFilter
from aishark_panel.wire.messages import (
    CaptureSettings,
    HubMessage,
    StartCapture,
    State,
    StopCapture,
    decode_hub_message,
)
from tests.traffic import hello

RUN = hello().run


@dataclass(eq=False)
class Said:
    """An agent's socket that keeps what it was told."""

    messages: list[HubMessage] = field(default_factory=list)
    dismissed: tuple[int, str] | None = None

    def send(self, message: str) -> None:
        self.messages.append(decode_hub_message(message))

    def dismiss(self, code: int, reason: str) -> None:
        self.dismissed = (code, reason)


class Desk:
    """Agents of a hub that has the sessions it is asked for."""

    def __init__(self) -> None:
        self.store = Store()
        self.sessions: dict[str, Session] = {}
        self.agents = Agents(self.store, self._open)

    def _open(self, session_id: str, name: str, owner: str) -> Session:
        return self.sessions.setdefault(name, Session(name, name, ring_bytes=MIN_LIMIT_BYTES))

    def attach(self, **options: Any) -> tuple[Link, Said]:
        said = Said()
        return self.agents.attach(hello(**options), said, None, OWNER.name), said


@pytest.fixture
def desk() -> Iterator[Desk]:
    made = Desk()
    yield made
    made.store.close()


def test_only_the_state_with_the_orders_number_is_its_answer(desk: Desk) -> None:
    async def run() -> None:
        link, said = desk.attach()
        start = asyncio.create_task(desk.agents.start(RUN, OWNER, "", CaptureSettings(snaplen=64)))
        await asyncio.sleep(0)
        (order,) = said.messages
        assert isinstance(order, StartCapture)
        assert not desk.agents.answered(link, State(capturing=True))
        assert not desk.agents.answered(link, State(capturing=False, answers=order.number + 1))
        assert not start.done()
        with pytest.raises(ConflictError, match="busy"):
            await desk.agents.stop(RUN, OWNER)
        assert desk.agents.answered(link, State(capturing=True, answers=order.number))
        assert (await start)["settings"]["snaplen"] == 64
        assert not desk.agents.answered(link, State(capturing=True, answers=order.number))

    asyncio.run(run())


def test_an_agent_that_says_nothing_is_not_waited_for(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aishark_panel.streams.agents.ANSWER_S", 0.01)

    async def run() -> None:
        link, said = desk.attach()
        for ask in (desk.agents.start(RUN, OWNER, "", CaptureSettings()), desk.agents.stop(RUN, OWNER)):
            with pytest.raises(ConflictError, match="did not answer"):
                await ask
        with pytest.raises(ConflictError, match="did not answer"):
            await desk.agents.start(RUN, OWNER, "elsewhere", CaptureSettings())
        assert said.dismissed == (1012, "it goes on in session elsewhere")
        assert link.answer is None

    asyncio.run(run())


def test_what_is_left_open_stays_as_it_was(desk: Desk) -> None:
    async def start(link: Link, said: Said, **settings: Any) -> None:
        starting = asyncio.create_task(desk.agents.start(RUN, OWNER, "", CaptureSettings(**settings)))
        await asyncio.sleep(0)
        order = said.messages[-1]
        assert isinstance(order, StartCapture)
        desk.agents.answered(link, State(capturing=True, answers=order.number))
        await starting

    async def run() -> None:
        link, said = desk.attach()
        await start(link, said, filter="udp")
        await start(link, said, snaplen=64)
        desk.agents.set_capture(link.session, False)
        assert isinstance(said.messages[-1], StopCapture)
        desk.agents.set_capture(link.session, True)
        assert said.messages[-1:] == [StartCapture(filter="udp", snaplen=64)]

    asyncio.run(run())


def test_an_inquiry_is_answered_by_its_number_beside_an_order(desk: Desk) -> None:
    async def run() -> None:
        link, said = desk.attach()
        listing = asyncio.create_task(desk.agents.interfaces(RUN, OWNER))
        trying = asyncio.create_task(desk.agents.try_filter(RUN, OWNER, "udp", 0.5))
        starting = asyncio.create_task(desk.agents.start(RUN, OWNER, "", CaptureSettings()))
        await asyncio.sleep(0)
        list_them, try_it, order = said.messages
        assert isinstance(list_them, ListInterfaces)
        assert isinstance(try_it, TryFilter)
        assert isinstance(order, StartCapture)
        assert (try_it.filter, try_it.seconds) == ("udp", 0.5)
        desk.agents.told(link, FilterTrial(answers=10**6))
        desk.agents.told(link, FilterTrial(answers=try_it.number, packets=9, passed_packets=4))
        desk.agents.told(link, FilterTrial(answers=try_it.number, packets=8))
        desk.agents.told(
            link, HostInterfaces(answers=list_them.number, interfaces=(HostInterface(name="eth0", up=True),))
        )
        desk.agents.answered(link, State(capturing=True, answers=order.number))
        trial = await trying
        assert (trial["packets"], trial["passed_packets"]) == (9, 4)
        assert [i["name"] for i in await listing] == ["eth0"]
        await starting
        assert link.inquiries == {}

    asyncio.run(run())


def test_an_inquiry_ends_with_the_agents_reason_its_leave_or_its_silence(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        link, said = desk.attach()
        waiting = [asyncio.create_task(desk.agents.try_filter(RUN, OWNER, "udp", 0.1)) for _ in range(MAX_INQUIRIES)]
        await asyncio.sleep(0)
        with pytest.raises(ConflictError, match="busy with other requests"):
            await desk.agents.interfaces(RUN, OWNER)
        first = said.messages[0]
        assert isinstance(first, TryFilter)
        desk.agents.told(link, FilterTrial(answers=first.number, reason="no filter"))
        with pytest.raises(ConflictError, match="Agent edge: no filter"):
            await waiting[0]
        monkeypatch.setattr("aishark_panel.streams.agents.ANSWER_S", 0.01)
        with pytest.raises(ConflictError, match="did not answer"):
            await desk.agents.interfaces(RUN, OWNER)
        desk.agents.detach(link, "gone")
        for each in waiting[1:]:
            with pytest.raises(ConflictError, match=r"Agent edge left\. gone"):
                await each

    asyncio.run(run())


def test_only_a_running_capture_is_changed(desk: Desk) -> None:
    async def run() -> None:
        link, said = desk.attach()
        link.run.capturing = False
        with pytest.raises(ConflictError, match="does not capture now"):
            await desk.agents.change(RUN, OWNER, CaptureSettings(snaplen=64))
        assert said.messages == []

    asyncio.run(run())


def test_a_run_that_connects_again_replaces_its_connection_and_goes_on_where_it_was(desk: Desk) -> None:
    first, said = desk.attach()
    second, _ = desk.attach(session="another")
    assert said.dismissed == (1012, "the agent connected again")
    assert second.session.name == "another"
    desk.agents.detach(first, "late")
    assert second.connected
    assert not first.connected
    desk.agents.detach(second, "gone")
    assert desk.agents.list(OWNER) == []


def test_made_up_traffic_waits_for_a_hub_that_is_not_ready_and_real_packets_do_not(desk: Desk) -> None:
    async def run() -> None:
        link, said = desk.attach(source="synthetic")
        link.session.condition.preparing, link.run.capturing = "Getting ready.", False
        assert not desk.agents.starts_at_once(link)
        link.session.condition.preparing = ""
        desk.agents.hub_is_ready()
        assert [type(message) for message in said.messages] == [StartCapture]

    asyncio.run(run())
    link, _ = desk.attach(source="live", run="cd" * 16)
    link.session.condition.preparing = "Getting ready."
    assert desk.agents.starts_at_once(link)


def test_an_agent_whose_spool_was_copied_is_not_taken_for_the_first(desk: Desk) -> None:
    first, second = (desk.store.register(name)[0] for name in ("first", "second"))
    said = Said()
    link = desk.agents.attach(hello(), said, first, OWNER.name)
    for connected in (True, False):
        link.run.connected = connected
        with pytest.raises(ConflictError, match="this run is agent first's"):
            desk.agents.attach(hello(), Said(), second, OWNER.name)
    assert said.dismissed is None
    assert desk.agents.attach(hello(), Said(), first, OWNER.name).run is link.run
    desk.agents.delete(first.id, OWNER)
    assert desk.agents.attach(hello(), Said(), second, OWNER.name).run is link.run  # it got another key


def test_an_agent_that_gets_a_key_goes_on_with_its_run(desk: Desk) -> None:
    before, _ = desk.attach()
    registered = desk.store.register("edge")[0]
    with pytest.raises(ConflictError, match="copied"):
        desk.agents.attach(hello(), Said(), registered, OWNER.name)
    before.run.connected = False
    assert desk.agents.attach(hello(), Said(), registered, OWNER.name).run is before.run
