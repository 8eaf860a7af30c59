"""The capture thread alone: what it is ordered, what it says of it, and how it ends. No hub, no connection."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from aishark_panel.agent.bounds import Bounds
from aishark_panel.agent.capturethread import CaptureThread
from aishark_panel.agent.encode import BatchLimits
from aishark_panel.agent.outbox import Outbox
from aishark_panel.agent.run import Run
from aishark_panel.agent.scope import CaptureScope
from aishark_panel.errors import CaptureError
from aishark_panel.wire.messages import StartCapture, State, StopCapture
from tests.agent.hub_double import FailingSource, NumberedSource, until


class Desk:
    """A capture thread and what it calls, always on the event loop."""

    def __init__(self, source: NumberedSource) -> None:
        self.said: list[State] = []
        self.batches = 0
        self.threads: set[int] = set()
        run = Run()
        self.outbox = Outbox("none", run)
        self.capture = CaptureThread(
            lambda _: source,
            run,
            self.outbox,
            scope=CaptureScope(),
            bounds=Bounds(),
            limits=BatchLimits(max_rows=50, max_age_s=0.005),
            thins=False,
            on_batch=self.note_batch,
            on_state=self.note_state,
        )

    def note_batch(self) -> None:
        self.threads.add(threading.get_ident())
        self.batches += 1

    def note_state(self, state: State) -> None:
        self.threads.add(threading.get_ident())
        self.said.append(state)

    async def answer(self, order: StartCapture | StopCapture) -> State:
        """What is said once the order was obeyed, or refused."""
        self.capture.order(order)
        await until(lambda: self.said and self.said[-1].answers == order.number, "the answer")
        return self.said[-1]


@asynccontextmanager
async def capturing(source: NumberedSource) -> AsyncIterator[tuple[Desk, "asyncio.Future[None]"]]:
    desk = Desk(source)
    ended = desk.capture.start()
    try:
        yield desk, ended
    finally:
        desk.capture.stop()
        await asyncio.to_thread(desk.capture.join, 5.0)
        desk.capture.close()
        assert desk.threads <= {threading.get_ident()}


def test_it_captures_as_ordered_and_answers_with_the_state_that_results() -> None:
    async def run() -> None:
        async with capturing(NumberedSource()) as (desk, _):
            assert not desk.capture.state.capturing
            said = await desk.answer(StartCapture(sampling=2, number=1))
            assert (said.capturing, said.reason, said.sampling) == (True, "", 2)
            assert said == desk.capture.state.message("", 1)
            await until(lambda: desk.batches > 2, "batches")
            said = await desk.answer(StopCapture(reason="enough", number=2))
            assert (said.capturing, said.reason, desk.capture.state.paused) == (False, "enough", "enough")
            counts = desk.capture.counters()
            assert counts["captured"] == counts["sampled_out"] + desk.outbox.rows > 0
            assert counts == desk.capture.counters()  # nothing is read any more

    asyncio.run(run())


def test_what_is_refused_changes_nothing_but_is_remembered() -> None:
    async def run() -> None:
        async with capturing(NumberedSource()) as (desk, _):
            await desk.answer(StartCapture(number=1))
            before = desk.capture.state
            said = await desk.answer(StartCapture(filter="udp", number=2))
            assert "cannot change its capture filter" in said.reason
            after = desk.capture.state
            assert after.refused is not None
            assert after.refused.reason == said.reason
            assert (after.capturing, after.scope) == (True, before.scope)

    asyncio.run(run())


def test_it_ends_with_the_source() -> None:
    class File(NumberedSource):
        warning = "cut short"

        @property
        def exhausted(self) -> bool:  # type: ignore[override]
            return self.made == self.stop_at

    async def run() -> None:
        async with capturing(File(stop_at=120)) as (desk, ended):
            desk.capture.order(StartCapture())
            await asyncio.wait_for(ended, 20)
            assert desk.outbox.rows == desk.capture.counters()["matched"] == 120
            assert desk.capture.what_ended() == ("eth0", "cut short")

    asyncio.run(run())


def test_a_source_that_fails_ends_it_with_its_error() -> None:
    async def run() -> None:
        async with capturing(FailingSource(stop_at=120)) as (desk, ended):
            desk.capture.order(StartCapture())
            with pytest.raises(CaptureError, match="the device is gone"):
                await asyncio.wait_for(ended, 20)
            assert desk.outbox.rows == 120

    asyncio.run(run())
