"""A page for a screen on a wall: the views that its address names, in large type and without controls.

The address says what they show, as any link does (views/link.py): `?kiosk=1&views=timeline,bandwidth&session=edge`.
"""

from collections.abc import Callable
from typing import Final

import panel as pn
from panel.viewable import Viewable

from aishark_panel.errors import AisharkError
from aishark_panel.views.address import open_session
from aishark_panel.views.alerts import Alerts
from aishark_panel.views.bandwidth import Bandwidth
from aishark_panel.views.base import Element, View
from aishark_panel.views.conversations import Conversations
from aishark_panel.views.endpoints import Endpoints, TopTalkers
from aishark_panel.views.feed import Feed
from aishark_panel.views.figures import Heading
from aishark_panel.views.header import Header
from aishark_panel.views.hierarchy import Hierarchy
from aishark_panel.views.link import Link
from aishark_panel.views.packet_list import PacketList
from aishark_panel.views.protocols import Protocols
from aishark_panel.views.tcp_health import TcpHealth
from aishark_panel.views.theme import style
from aishark_panel.views.timeline import Timeline

__all__ = ["KIOSK_VIEWS", "Kiosk"]

KIOSK_VIEWS: Final[dict[str, Callable[[Feed], View]]] = {
    "timeline": Timeline,
    "bandwidth": Bandwidth,
    "protocols": Protocols,
    "talkers": TopTalkers,
    "layers": Hierarchy,
    "health": TcpHealth,
    "conversations": Conversations,
    "endpoints": Endpoints,
    "alerts": Alerts,
    "packets": PacketList,
}
"""Views that a wall can show, by the names that addresses use."""
_WITHOUT_A_WORD: Final = ("timeline", "bandwidth", "protocols")
_ZOOM: Final = 1.35
_CHART_TYPE: Final = f"{round(11 * _ZOOM)}px"
_LARGE: Final = {"zoom": str(_ZOOM)}


class Kiosk:
    """The views of a link, below a line that says of which session they are, and of which of its packets."""

    def __init__(self, feed: Feed, link: Link) -> None:
        self.feed = feed
        self._link = link
        wanted = dict.fromkeys(link.views or _WITHOUT_A_WORD)
        self._unknown = [name for name in wanted if name not in KIOSK_VIEWS]
        shown = [name for name in wanted if name in KIOSK_VIEWS]
        self.views: list[View] = [Header(feed, bare=True), *(KIOSK_VIEWS[name](feed) for name in shown)]
        for view in self.views[1:]:
            _enlarge(view.root)
        self._line = Heading("")
        self._line.root.styles = _LARGE
        self.views[0].root.styles = _LARGE
        grid = pn.Column(
            *(view.root for view in self.views[1:]),
            css_classes=["grid"],
            stylesheets=[style("kiosk.css")],
            sizing_mode="stretch_both",
            margin=0,
        )
        self.root = pn.Column(
            self.views[0].root,
            self._line.root,
            grid,
            css_classes=["kiosk"],
            stylesheets=[style("kiosk.css")],
            sizing_mode="stretch_both",
            margin=0,
        )

    async def open(self) -> None:
        """Show what the link names, and say what of it there is not."""
        problems, _ = await open_session(self.feed, self._link)
        if self._unknown:
            names = ", ".join(repr(name[:40]) for name in self._unknown)
            problems.append(f"There is no view {names}; there are {', '.join(KIOSK_VIEWS)}.")
        try:
            await self.feed.filter(self._link.where)
        except AisharkError as error:
            problems.append(f"The display filter is not used: {error}")
        where = self.feed.where and f"display filter  {self.feed.where}"
        self._line.show(where, " ".join(problems))
        self._line.root.visible = bool(where or problems)


def _enlarge(root: Viewable) -> None:
    """Larger type. What is HTML is enlarged as a whole; charts are not, as they measure themselves."""
    for pane in root.select(pn.pane.Bokeh):
        assert isinstance(pane, pn.pane.Bokeh)
        for axis in pane.object.axis:
            axis.major_label_text_font_size = _CHART_TYPE
    for element in root.select(Element):
        element.styles = _LARGE
