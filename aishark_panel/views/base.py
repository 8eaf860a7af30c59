"""What a view is: a root to put into a page, `pull` to learn what is new, `paint` to show it.

`pull` is asynchronous and touches no Bokeh model, so a slow hub never holds a page's lock; `paint` runs under the lock
and sends one message. `run` does both for the views of a page that are in sight, on one timer, which stops with the
page. What several views draw is pulled once, by the Feed; a view's own `pull` is for what it alone shows.

An `Element` is the root of a view that is drawn by JavaScript of its own: `state` goes down, messages come up.

Views live on the event loop they were made on. A notebook hands messages of the browser to whatever thread it likes;
`Home` brings them back to that loop.
"""

import asyncio
import json
import weakref
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, ClassVar, Final

import panel as pn
import param
from panel.custom import JSComponent
from panel.io.callbacks import PeriodicCallback
from panel.io.document import hold
from panel.viewable import Viewable, Viewer

from aishark_panel.errors import AisharkError
from aishark_panel.views.feed import Feed
from aishark_panel.views.theme import style

__all__ = ["REFRESH_MS", "Element", "Home", "Receive", "View", "card", "run"]

REFRESH_MS: Final = 300
"""How often a page asks what is new, in ms."""

Receive = Callable[[Any], Coroutine[Any, Any, None]]


class Home:
    """The event loop that is running when this is made."""

    def __init__(self) -> None:
        try:
            self._loop: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            self._loop = None  # made before the loop, in a test or script: then there is one only

    async def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Do `work` there: it is awaited if that is here, else handed over; who brings a message must not wait."""
        if self._loop is None or self._loop is asyncio.get_running_loop():
            await work
        else:
            asyncio.run_coroutine_threadsafe(work, self._loop)


class View(Viewer):
    """A piece of the page over one Feed. Usable alone: `await view.refresh()` brings it up to date."""

    root: Viewable
    every: ClassVar[int] = 1
    """it pulls every so many ticks of the page"""

    def __init__(self, feed: Feed) -> None:
        super().__init__()
        self.feed = feed

    @property
    def in_sight(self) -> bool:
        """Whether it is shown; a view that is not neither pulls nor paints."""
        return bool(self.root.visible)

    async def pull(self) -> None:
        """Ask the hub for what only this view shows; what stands in the way is shown too and not raised."""

    def paint(self) -> None:
        """Show what the feed and this view hold. Called under the document's lock."""

    def repaint(self) -> None:
        """Paint as soon as the document's lock is free: for who hears a message of the browser, and has no lock."""
        pn.state.execute(self.paint, schedule=True)

    async def refresh(self) -> None:
        """Pull the feed and what this view adds to it, and paint."""
        await self.feed.pull()
        await self.pull()
        self.paint()

    def __panel__(self) -> Viewable:
        return self.root


class Element(JSComponent):
    """A view's root drawn by plain JavaScript: it shows what was drawn last and sends messages, which go to `receive`.

    What is drawn travels as one JSON text: Bokeh walks through nested values again and again, which costs more than all
    else in a tick.

    An AisharkError that `receive` raises is shown to the person as a notification. The name of a subclass must not
    start with an underscore: Bokeh tells browsers of no such model.
    """

    state = param.String(default="{}", doc="What to show, a JSON object.")

    __abstract = True

    def __init__(self, receive: Receive, *css: str, **params: Any) -> None:
        super().__init__(stylesheets=[style(*css)], **params)
        self._receive = receive
        self._home = Home()
        self.drawn: dict[str, Any] = {}
        """what `state` stands for"""

    async def _handle_msg(self, data: Any) -> None:  # type: ignore[override]  # Panel runs both kinds
        await self._home.run(self._answer(data))

    async def _answer(self, data: Any) -> None:
        try:
            await self._receive(data)
        except AisharkError as error:
            if pn.state.notifications:
                pn.state.notifications.error(str(error), duration=8000)

    def draw(self, **state: Any) -> None:
        """Show `state`, JSON values only; the browser hears of it only where it differs."""
        if state != self.drawn:
            self.drawn = state
            self.state = json.dumps(state, separators=(",", ":"), allow_nan=False)

    def send(self, message: dict[str, Any]) -> None:
        """Answer the browser with one message."""
        self._send_msg(message)


def card(heading: Viewable, body: Viewable, name: str) -> pn.Column:
    """A framed panel with a heading line; `name` is its CSS class in the page's grid."""
    return pn.Column(
        heading, body, css_classes=["card", name], stylesheets=[style("card.css")], sizing_mode="stretch_both", margin=0
    )


def run(feed: Feed, views: Sequence[View], period_ms: int = REFRESH_MS) -> PeriodicCallback:
    """Refresh `views` of one page on a timer until it closes; a tick that is still under way skips the next."""
    pulse = _Pulse(feed, views)
    timer = PeriodicCallback(callback=pulse.tick, period=period_ms, log=False, background=True)
    timer.start()
    return timer


class _Pulse:
    """One page's tick. It holds the views weakly: a timer must not be what keeps a page alive."""

    def __init__(self, feed: Feed, views: Sequence[View]) -> None:
        self._feed = weakref.ref(feed)
        self._views = [weakref.ref(view) for view in views]
        self._busy = False
        self._ticks = 0

    def tick(self) -> None:
        # Panel runs this one under the document's lock and the coroutine it starts without.
        if not self._busy:
            self._busy = True
            pn.state.execute(self._pull)

    async def _pull(self) -> None:
        feed = self._feed()
        try:
            if feed is not None:
                await feed.pull()
                for view in self._in_sight():
                    if self._ticks % view.every == 0:
                        await view.pull()
                self._ticks += 1
        finally:
            pn.state.execute(self._paint, schedule=True)

    def _in_sight(self) -> Iterator[View]:
        views = (reference() for reference in self._views)
        return (view for view in views if view is not None and view.in_sight)

    def _paint(self) -> None:
        try:
            with hold():
                for view in self._in_sight():
                    view.paint()
        finally:
            self._busy = False
