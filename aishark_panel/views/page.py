"""One browser tab: who is there, and then the dashboard.

Nothing is read from the hub, and no view is made, until the hub has accepted the visitor's token. It comes from a
cookie (views/login_routes.py), from `?token=` in the address if it is the start token, or from the login card. The hub
is the one AISHARK_HUB names, else one that this process starts for itself.
"""

import asyncio
import sys
from pathlib import Path
from typing import Any, Final

import panel as pn
from panel.viewable import Viewable

from aishark_panel.client import HubClient
from aishark_panel.errors import AisharkError, NotAuthorizedError
from aishark_panel.views.access import LOGIN_COOKIE, TOKEN_COOKIE, hub_url, is_start_token
from aishark_panel.views.address import Address
from aishark_panel.views.agents import Agents
from aishark_panel.views.alerts import Alerts
from aishark_panel.views.bandwidth import Bandwidth
from aishark_panel.views.base import View, run
from aishark_panel.views.chosen import is_chosen
from aishark_panel.views.conversations import Conversations
from aishark_panel.views.endpoints import Endpoints, TopTalkers
from aishark_panel.views.feed import Feed
from aishark_panel.views.filter_bar import FilterBar
from aishark_panel.views.follow import Follow
from aishark_panel.views.header import Header
from aishark_panel.views.hierarchy import Hierarchy
from aishark_panel.views.keys import Keys
from aishark_panel.views.kiosk import Kiosk
from aishark_panel.views.link import read_link
from aishark_panel.views.login import Login
from aishark_panel.views.packet_detail import PacketDetail
from aishark_panel.views.packet_list import PacketList
from aishark_panel.views.protocols import Protocols
from aishark_panel.views.rule_editor import RuleEditor
from aishark_panel.views.sessions import Sessions
from aishark_panel.views.tabs import Tabs
from aishark_panel.views.tcp_health import TcpHealth
from aishark_panel.views.theme import CHOSEN, VARIABLES, style
from aishark_panel.views.timeline import Timeline
from aishark_panel.views.tshark import Tshark
from aishark_panel.views.visitor import provider_of

__all__ = ["Dashboard", "Page", "open_page"]

_HERE: Final = Path(__file__).parent


def open_page() -> None:
    """Make the page of the tab that is being opened."""
    pn.extension(reconnect=True, notifications=True)
    template = pn.Template((_HERE / "page.html").read_text(encoding="utf-8"))
    template.add_variable("page_css", VARIABLES + CHOSEN + (_HERE / "page.css").read_text(encoding="utf-8"))
    page = Page(_token_of_visitor())
    template.add_panel("page", page.root)
    template.servable(title="aishark")
    pn.state.onload(page.open)
    pn.state.on_session_destroyed(page.close)


class Dashboard:
    """All views of a session, wired together, in the page's grid."""

    def __init__(self, feed: Feed) -> None:
        self.feed = feed
        self.filter_bar = filter_bar = FilterBar(feed)
        follow = Follow(feed, on_filter=filter_bar.add, on_select=self._look_at)
        self.detail = detail = PacketDetail(feed, filter_bar.add, follow.read, Tshark.installed())
        self.packets = packets = PacketList(feed, on_select=detail.look_at, on_filter=filter_bar.add)
        editor = RuleEditor(feed)
        alerts = Alerts(feed, filter_bar.add, self._show_alert, editor.edit)
        tabs: dict[str, list[View]] = {
            "Packets": [packets, detail],
            "Conversations": [Conversations(feed, on_filter=filter_bar.add)],
            "Endpoints": [Endpoints(feed, on_filter=filter_bar.add)],
            "Protocols": [Hierarchy(feed, on_filter=filter_bar.add), TcpHealth(feed)],
            "Alerts": [alerts, editor],
            "Agents": [Agents(feed)],
            "Sessions": [Sessions(feed)],
        }
        self.header = Header(feed, on_pause=packets.paint)
        self.tabs = Tabs(feed, tabs)
        self.views: list[View] = [
            self.header,
            filter_bar,
            Timeline(feed, on_filter=filter_bar.add),
            Bandwidth(feed, on_filter=filter_bar.add),
            Protocols(feed, on_choose=filter_bar.add),
            TopTalkers(feed, on_filter=filter_bar.add),
            self.tabs,
            *(view for views in tabs.values() for view in views),
            follow,
        ]
        self.root = pn.Column(
            *(view.root for view in self.views), stylesheets=[style("grid.css")], sizing_mode="stretch_both", margin=0
        )

    async def _show_alert(self, where: str, range_ns: tuple[int, int]) -> None:
        """Show the packets of an alert, and nothing else, in the list."""
        await self.filter_bar.apply(where)
        await self.feed.choose_range(range_ns)
        await self.tabs.choose(self.tabs.names[0])

    async def _look_at(self, number: int) -> None:
        """Show a packet, which the display filter may have left out, and in the list if it is there."""
        await self.detail.look_at(number)
        await self.packets.select(number)


class Page:
    """One tab: login card or dashboard."""

    def __init__(self, token: str) -> None:
        self._token = token
        self._client: HubClient | None = None
        self._views: list[View] = []
        self._login = Login(self._receive, remember="aishark_panel.views.routes" in sys.modules)
        self._again = self._login.remember and LOGIN_COOKIE in _cookies_of_visitor()
        """whether to try the login of before, once"""
        self._login.draw(title="Connecting to the hub …")
        self.root = pn.Column(self._login, sizing_mode="stretch_both", margin=0)

    async def open(self) -> None:
        """Show the dashboard if the token is accepted, else ask who is there."""
        try:
            url = await asyncio.to_thread(hub_url)
            if not self._token:
                await self._ask(url, title="Who is there?")
                return
            client = HubClient(url, self._token)
            await client.connect()
        except NotAuthorizedError as error:
            await self._ask(url, title="That token was not accepted", text=str(error))
        except AisharkError as error:
            self._login.draw(title="The hub cannot be reached", text=str(error), ask=True)
        else:
            await self._show(client)

    async def _ask(self, url: str, **words: str) -> None:
        """Show the ways in that the hub knows; who logged in before is let in again without a word."""
        by_name, provider = await provider_of(url) if self._login.remember else (False, "")
        again, self._again = self._again, False
        self._login.draw(**words, ask=True, by_name=by_name, provider=provider, again=again)

    async def _show(self, client: HubClient) -> None:
        self._client = client
        feed = Feed(client)
        me = await client.me()
        feed.person, feed.rights = me["name"], me["capabilities"]
        arguments = _arguments()
        link, _ = read_link(arguments)
        if link.kiosk:
            kiosk = Kiosk(feed, link)
            await kiosk.open()
            roots: list[Viewable] = [kiosk.root]
            self._views = kiosk.views
        else:
            dashboard = Dashboard(feed)
            packets = dashboard.packets
            address = Address(feed, dashboard.filter_bar, dashboard.tabs, dashboard.detail, on_packet=packets.go_to)
            keys = Keys(feed, dashboard.header, dashboard.tabs, packets.go_to, packets.next_problem)
            await address.follow(arguments)
            roots = [dashboard.root, address.root, keys.root]
            self._views = [*dashboard.views, address, keys]
        for view in self._views:
            if view.in_sight:
                await view.pull()
            view.paint()
        self.root[:] = roots
        run(feed, self._views)

    async def _receive(self, message: Any) -> None:
        match message:
            case {"token": str(token)} if self._client is None:
                self._token = token[:1000]
                await self.open()
                if self._client is not None:
                    self._login.draw(title="Welcome", accepted=True)

    def close(self, _session_context: Any) -> None:
        """The tab is gone: end its connection."""
        if self._client is not None:
            pn.state.execute(self._client.close)


def _arguments() -> dict[str, list[str]]:
    """What the query of the page's address says."""
    said = pn.state.session_args.items()
    return {name: [value.decode("utf-8", "replace") for value in values] for name, values in said}


def _token_of_visitor() -> str:
    from_address = _arguments().get("token", [""])[0]
    # Another's token in an address would have a visitor work in that name without knowing (views/login_routes.py).
    trusted = from_address if from_address and is_start_token(from_address) else ""
    return trusted or _cookies_of_visitor().get(TOKEN_COOKIE, "")


def _cookies_of_visitor() -> dict[str, str]:
    """The cookies that came with the request itself: Bokeh's own are those of a token that stands in the page, where
    scripts could read them, so views/launch.py keeps ours out of it."""
    document: Any = pn.state.curdoc
    request = document.session_context.request._request
    if is_chosen(request):
        return {}
    return {name: morsel.value for name, morsel in request.cookies.items()}
