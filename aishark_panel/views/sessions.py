"""Sessions: all that one sees, with what is done to them: start, stop, clear, delete, share, record, and make new ones.

One session at a time is open: its recordings, and with whom it is shared, are asked for then only.
"""

from collections.abc import Awaitable
from datetime import UTC, datetime
from typing import Any, ClassVar, Final

from aishark_panel.errors import AisharkError
from aishark_panel.views.base import Element, View
from aishark_panel.views.exports import at_page, file_address
from aishark_panel.views.feed import Feed
from aishark_panel.views.theme import script
from aishark_panel.wire.inquiries import trial_line

__all__ = ["Sessions"]

RECORD_FORMATS: Final = ("pcapng", "parquet")
_OPTIONS: Final = {"rotate_bytes": int, "rotate_s": float, "rotate_packets": int, "max_files": int}
_FACTS: Final = ("id", "name", "owner", "state", "source", "packets", "kept", "kept_bytes", "agents", "may")
_RECORDED: Final = ("id", "format", "where", "state", "reason", "folder", "current_file", "written", "failed", "bytes")
_MAX_FILES: Final = 20
"""Most files of a recording that are listed, the newest."""
_HOUR_S: Final = 3_600


class SessionsElement(Element):
    _esm = script("menu.js", "copy.js", "session_new.js", "session_parts.js", "sessions.js")


class Sessions(View):
    """All sessions. What was asked for a session is answered beside it, until the next order."""

    root: SessionsElement
    every: ClassVar[int] = 2

    def __init__(self, feed: Feed) -> None:
        super().__init__(feed)
        self._open = ""
        """id of the session that is open"""
        self._recordings: list[dict[str, Any]] = []
        self._shares: list[dict[str, Any]] = []
        self._links: list[dict[str, Any]] = []
        self._made: dict[str, Any] | None = None
        """a new link to the open session: its secret is told this once"""
        self._making = False
        self._agents: list[dict[str, Any]] = []
        self._profiles: list[str] = []
        self._answers: dict[str, dict[str, Any]] = {}
        """by the session's id; "" for the new one"""
        self._orders = 0
        self.root = SessionsElement(
            self._receive, "sessions.css", css_classes=["session-list"], sizing_mode="stretch_both", margin=0
        )

    @property
    def _makes(self) -> bool:
        return "capture" in self.feed.rights or "admin" in self.feed.rights

    def _may(self, right: str) -> bool:
        """Whether the person may do that with the session that is open."""
        may = next((s["may"] for s in self.feed.sessions if s["id"] == self._open), ())
        return right in may or "admin" in may

    async def pull(self) -> None:
        client = self.feed.client
        try:
            if self._open and all(s["id"] != self._open for s in self.feed.sessions):
                self._open = ""
            if self._open:
                self._recordings = await client.recordings(self._open)
            if self._making:
                self._agents = [agent for agent in await client.agents() if agent["state"] != "offline"]
                self._profiles = [profile["name"] for profile in await client.profiles()]
        except AisharkError:
            return  # the page says that the hub is away

    async def _pull_shares(self) -> None:
        client, may = self.feed.client, self._may("capture")
        self._shares = await client.shares(self._open) if may else []
        self._links = await client.links(self._open) if may else []

    def paint(self) -> None:
        feed = self.feed
        self.root.draw(
            sessions=[self._line(session) for session in reversed(feed.sessions)],
            shown=feed.session,
            open=self._open,
            makes=self._makes,
            person=feed.person,
            uploads=at_page() and self._makes,
            filter=feed.where if self._open == feed.session else "",
            formats=list(RECORD_FORMATS),
            recordings=[_recording(each) for each in self._recordings] if self._open else [],
            shares=self._shares,
            links=[{**link, "until": _moment(link["expires_s"] * 10**9)} for link in self._links],
            made=self._made,
            making=self._making,
            agents=[
                {
                    "id": agent["id"],
                    "name": agent["name"],
                    "live": agent["source"] == "live",
                    "doing": f"captures into {agent['session_name']}"
                    if agent["state"] == "capturing"
                    else agent["state"],
                }
                for agent in self._agents
            ],
            profiles=self._profiles,
            answer=self._answers.get(""),
            problem=feed.problem,
        )

    def _line(self, session: dict[str, Any]) -> dict[str, Any]:
        started = _moment(session["first_ts"]) if session["first_ts"] else ""
        return {
            **{name: session[name] for name in _FACTS},
            "started": started,
            "answer": self._answers.get(session["id"]),
        }

    async def _receive(self, message: Any) -> None:
        client = self.feed.client
        match message:
            case {"open": str(session)}:
                await self._look_into(session)
            case {"show": str(session)}:
                await self.feed.choose(session)
            case {"making": bool(making)}:
                self._making = making
                self._answers.pop("", None)
                await self.pull()
            case {"create": str(name), "agents": list(agents), "filter": str(wanted), "profile": str(profile)}:
                await self._order("", self._create(name, [str(agent) for agent in agents], wanted, profile))
            case {"try": str(agent), "filter": str(wanted)}:
                await self._order("", self._tried(agent, wanted), "Looking at its traffic …")
            case {"start": str(session)}:
                await self._order(session, self._done(client.start(session), "Started."))
            case {"stop": str(session)}:
                await self._order(session, self._done(client.stop(session), "Stopped. What came so far is kept."))
            case {"clear": str(session)}:
                await self._order(session, self._done(client.clear(session), "Its packets are forgotten."))
            case {"delete": str(session)}:
                await self._order(session, self._done(client.delete(session), ""))
            case _:
                await self._receive_of_open(message)
        self.paint()

    async def _receive_of_open(self, message: Any) -> None:
        """What is asked of the session that is open."""
        client, session = self.feed.client, self._open
        match message:
            case {"record": str(export_format), "where": str(where), "oldest": bool(oldest), "options": dict(options)}:
                given = _options(options) | {"where": where, "start": "oldest" if oldest else "now"}
                await self._order(session, self._done(client.record_start(session, export_format, **given), ""))
            case {"record_stop": str(recording)}:
                await self._order(session, self._done(client.record_stop(session, recording), ""))
            case {"fetch": str(file), "recording": str(recording)}:
                ticket = await client.recording_ticket(session, recording, file)
                self.root.send({"download": file_address(self.feed, ticket)})
            case {"share": str(person), "export": bool(export)}:
                may = ["view", "export"] if export else ["view"]
                await self._order(session, self._shared(client.share(session, person.strip(), may)))
            case {"unshare": str(person)}:
                await self._order(session, self._shared(client.unshare(session, person)))
            case {"link": int() | float() as hours}:
                await self._order(session, self._shared(self._make_link(hours)))
            case {"unlink": str(link)}:
                await self._order(session, self._shared(client.unlink(session, link)))

    async def _look_into(self, session: str) -> None:
        self._open, self._made, self._recordings, self._shares, self._links = session, None, [], [], []
        if session:
            await self.pull()
            await self._pull_shares()

    async def _create(self, name: str, agents: list[str], wanted: str, profile: str) -> str:
        """Make a session, and let these agents capture into it; what each said that did not."""
        made = await self.feed.client.create_session(name.strip())
        self._making = False
        # A filter that was left empty leaves the word to the profile, if one is chosen.
        capture_filter = wanted.strip() if wanted.strip() or not profile else None
        refused = []
        for agent in agents:
            try:
                await self.feed.client.agent_start(agent, session=made["id"], profile=profile, filter=capture_filter)
            except AisharkError as error:
                refused.append(str(error))
        await self.feed.choose(made["id"])
        self._answers[made["id"]] = {"order": self._orders, "kind": "bad", "text": " ".join(refused)}
        return ""

    async def _tried(self, agent: str, wanted: str) -> str:
        return trial_line(await self.feed.client.agent_try(agent, wanted.strip()))

    async def _make_link(self, hours: float) -> None:
        made = await self.feed.client.link(self._open, hours * _HOUR_S)
        self._made = {"id": made["id"], "token": made["token"], "until": _moment(made["expires_s"] * 10**9)}

    async def _shared(self, order: Awaitable[object]) -> str:
        await order
        await self._pull_shares()
        if self._made and all(link["id"] != self._made["id"] for link in self._links):
            self._made = None
        return ""

    async def _done(self, order: Awaitable[object], text: str) -> str:
        await order
        await self.feed.pull()
        return text

    async def _order(self, session: str, order: Awaitable[str], waiting: str = "…") -> None:
        """Await an order's answer in words, and show it."""
        self._orders += 1
        answer = self._answers[session] = {"order": self._orders, "kind": "waiting", "text": waiting}
        self.paint()
        try:
            self._answers[session] = {**answer, "kind": "good", "text": await order}
        except AisharkError as error:
            self._answers[session] = {**answer, "kind": "bad", "text": str(error)}
        await self.pull()


def _options(given: dict[str, Any]) -> dict[str, object]:
    """The options of a recording that were filled in: numbers above 0."""
    return {name: kind(given[name]) for name, kind in _OPTIONS.items() if isinstance(given.get(name), int | float)}


def _recording(recording: dict[str, Any]) -> dict[str, Any]:
    """What is shown of a recording; its newest files first."""
    return {
        **{name: recording[name] for name in _RECORDED},
        "files": recording["files"][-_MAX_FILES:][::-1],
        "more_files": max(0, len(recording["files"]) - _MAX_FILES),
    }


def _moment(ns: int) -> str:
    return f"{datetime.fromtimestamp(ns // 10**9, UTC):%Y-%m-%d %H:%M:%S} UTC"
