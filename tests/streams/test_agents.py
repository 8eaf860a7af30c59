"""Orders to agents and their answers, without a network: who answers what, who is too slow, who comes back."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from aishark_panel.errors import ConflictError
from aishark_panel.streams.agents import Agents, Link
from aishark_panel.streams.people import OWNER
from aishark_panel.streams.ring import MIN_LIMIT_BYTES
from aishark_panel.streams.session import Session
from aishark_panel.streams.store import Store
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


def test_a_run_that_connects_again_replaces_its_connection(desk: Desk) -> None:
    first, said = desk.attach()
    second, _ = desk.attach(session="another")
    assert said.dismissed == (1012, "the agent connected again")
    assert second.session.name == "another"
    desk.agents.detach(first, "late")
    assert second.connected
    assert not first.connected
    desk.agents.detach(second, "gone")
    assert desk.agents.list(OWNER) == []
