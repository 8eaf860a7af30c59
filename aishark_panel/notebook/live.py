"""Live views of a session inside a notebook's cell, or in anybody's Panel app.

In a notebook the views are drawn from the background loop, so they move while a cell computes. Under `panel serve` they
are drawn on the server's loop, as its documents demand. A view begins to move when a browser has drawn it, and stops
when its page is gone or its cell is run again; JupyterLab does not tell of outputs that were cleared.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import panel as pn
import param
from IPython.core.getipython import get_ipython
from panel.io.callbacks import PeriodicCallback
from panel.io.notebook import push_notebook
from panel.viewable import Viewable, Viewer

from aishark_panel.client import HubClient
from aishark_panel.errors import ConfigError
from aishark_panel.notebook.background import wait_for
from aishark_panel.views.bandwidth import Bandwidth
from aishark_panel.views.base import Element, Receive, View, run
from aishark_panel.views.feed import Feed
from aishark_panel.views.packet_list import PacketList
from aishark_panel.views.page import Dashboard
from aishark_panel.views.protocols import Protocols
from aishark_panel.views.theme import JUPYTERLAB, script
from aishark_panel.views.timeline import Timeline

__all__ = ["VIEWS", "Live"]

VIEWS: Final[dict[str, tuple[Callable[[Feed], View], int]]] = {
    "timeline": (Timeline, 160),
    "bandwidth": (Bandwidth, 280),
    "protocols": (Protocols, 280),
    "packets": (PacketList, 400),
}
"""Single views by name, each with its height in pixels."""
DASHBOARD: Final = "dashboard"
_DASHBOARD_HEIGHT: Final = 860
_SCHEME: Final = "color-scheme: var(--chosen-scheme, light dark);"


class Live(Viewer):
    """What `session.live()` returns; shown by being a cell's last value, or by `.servable()`."""

    def __init__(self, url: str, token: str, session: str, view: str = DASHBOARD, height: int | None = None) -> None:
        if view not in (DASHBOARD, *VIEWS):
            raise ConfigError(f"there is no view {view!r:.40}; there are {', '.join((DASHBOARD, *VIEWS))}")
        super().__init__()
        self._client = HubClient(url, token)
        self._feed = Feed(self._client, session)
        self._kind = view
        self._height = height
        self._views: list[View] = []
        self._root: Viewable | None = None
        self._timer: PeriodicCallback | None = None
        self._stopped = False
        self._in_notebook = pn.state.curdoc is None
        if self._in_notebook and not getattr(pn.extension, "_loaded", False):
            pn.extension(inline=True)  # BokehJS from this package: a notebook may have no internet

    def __panel__(self) -> Viewable:
        if self._root is None:
            if self._in_notebook:
                wait_for(self._open())
            else:
                self._build()
                self._client.connect_when_possible()
                self._timer = run(self._feed, self._views)
                pn.state.on_session_destroyed(lambda _: pn.state.execute(self._client.close))
        assert self._root is not None
        return self._root

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        _take_place(self)
        return wait_for(self._render(self.__panel__(), include, exclude))

    async def _render(self, root: Viewable, include: Any, exclude: Any) -> Any:
        """What a cell shows, made on the background loop, so that Panel's models know one thread only."""
        bundle = root._repr_mimebundle_(include, exclude)
        for _, browser in root._comms.values():
            # The comm opens later and then takes this in place of its own method, which replaces sys.stdout, for all
            # threads, while it handles a message: what a cell prints meanwhile would be lost.
            browser._handle_msg = partial(_hand_over, browser, asyncio.get_running_loop())
        return bundle

    async def _begin(self, _message: Any) -> None:
        """Move, now that a browser shows it."""
        if self._timer is None and not self._stopped:
            self._timer = run(self._feed, [*self._views, self._pushed])

    @property
    def running(self) -> bool:
        """Whether it asks the hub and moves."""
        return self._timer is not None

    def stop(self) -> None:
        """Move no more; what is shown stays."""
        if self._root is not None and self._in_notebook:
            wait_for(self._close())

    def _build(self) -> None:
        if self._kind == DASHBOARD:
            dashboard = Dashboard(self._feed)
            self._views, self._root = dashboard.views, dashboard.root
            height = self._height or _DASHBOARD_HEIGHT
        else:
            make, default_height = VIEWS[self._kind]
            view = make(self._feed)
            self._views, self._root = [view], pn.Column(view.root, sizing_mode="stretch_width", margin=0)
            height = self._height or default_height
        self._root.sizing_mode = "stretch_width"
        self._root.height = height
        self._root.stylesheets = [*self._root.stylesheets, f":host {{ height: {height}px; min-height: 0; {_SCHEME} }}"]

    async def _open(self) -> None:
        """In a notebook: everything a page has, on the background loop."""
        await self._client.connect()
        await self._feed.pull()
        self._build()
        assert isinstance(self._root, pn.Column)
        self._root.append(Beacon(self._begin))
        for view in self._views:
            view.paint()
        self._pushed = _Push(self._feed, self._root)

    async def _close(self) -> None:
        self._stopped = True
        if self._timer is not None:
            self._timer.stop()
            self._timer = None
        await self._client.close()


def _hand_over(comm: Any, loop: asyncio.AbstractEventLoop, message: dict[str, Any]) -> None:
    """Pass a browser's message to the loop the views live on, and acknowledge it: the browser waits for that."""
    content = comm.decode(message)
    acknowledgement = {"msg_type": "Ready", "content": "", "comm_id": content.pop("comm_id", None)}
    loop.call_soon_threadsafe(comm._on_msg, content)
    comm.send(metadata=acknowledgement)


_shown: Final[dict[str, tuple[str, list[Live]]]] = {}
"""by cell: the run that showed views there last, and these views"""


def _take_place(view: Live) -> None:
    """Stop what an earlier run of the cell that shows `view` has shown there."""
    request: dict[str, Any] = getattr(get_ipython(), "get_parent", dict)()
    try:
        cell, run_id = request["metadata"]["cellId"], request["header"]["msg_id"]
    except KeyError:
        return  # not JupyterLab, or one that does not name its cells
    earlier_run, views = _shown.get(cell, ("", []))
    if earlier_run != run_id:
        for each in views:
            if each is not view:
                each.stop()
        views = []
    _shown[cell] = run_id, [*views, view]


class Beacon(Element):
    """Sends a message when a browser has drawn it. Panel's page drops, and unnoticed, what it gets before.

    It also gives the page CSS by which the views follow JupyterLab's theme.
    """

    _esm = script("beacon.js")
    theme = param.String(default=JUPYTERLAB, constant=True, doc="CSS for the page around the views.")

    def __init__(self, receive: Receive) -> None:
        super().__init__(receive, "base.css", width=0, height=0, margin=0, styles={"position": "absolute"})


class _Push(View):
    """The last to be painted: sends a notebook what the views changed in Bokeh's models; nobody else does so there."""

    def __init__(self, feed: Feed, shown: Viewable) -> None:
        super().__init__(feed)
        self.root = shown

    def paint(self) -> None:
        push_notebook(self.root)
