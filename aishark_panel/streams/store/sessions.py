"""What is kept of sessions beside their journals: names and owners, whom they are shared with, and links to them.

Sessions are kept by the journal that holds their packets: hubs with journals of their own may share this state. A link
is a secret that lets whoever has it look at one session; only its hash is kept.
"""

import secrets
import time
from typing import Final

import msgspec
from sqlalchemy import delete, func, insert, select, update

from aishark_panel.errors import ConfigError, NotFoundError
from aishark_panel.streams.store import schema
from aishark_panel.streams.store.database import Database, hash_of

__all__ = ["LINK_MARK", "KeptSession", "Link", "SessionRecords", "Share"]

LINK_MARK: Final = "link."
"""What the secrets of links begin with; their id follows."""
MAX_SHARES: Final = 200
MAX_LINKS: Final = 200
"""Most of one session."""

_sessions: Final = schema.sessions.c
_shares: Final = schema.shares.c
_links: Final = schema.links.c
_LINK_COLUMNS: Final = (_links.id, _links.session, _links.person, _links.created_s, _links.expires_s)


class KeptSession(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a session beside its journal."""

    id: str
    name: str
    owner: str
    wanted: bool
    """whether it is started"""


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """A person who may look at another's session."""

    session: str
    person: str
    capabilities: tuple[str, ...]
    created_s: int


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a link: not its secret."""

    id: str
    session: str
    person: str
    """who made it"""
    created_s: int
    expires_s: int
    """Unix time"""


class SessionRecords(Database):
    """Sessions of journals, shares and links by session."""

    def sessions(self, journal: str) -> list[KeptSession]:
        """The sessions of a journal, oldest first."""
        kept = select(_sessions.id, _sessions.name, _sessions.owner, _sessions.wanted)
        rows = self.execute(kept.where(_sessions.journal == journal).order_by(_sessions.created_ns, _sessions.id))
        return [KeptSession(id=row.id, name=row.name, owner=row.owner, wanted=bool(row.wanted)) for row in rows]

    def save_session(self, journal: str, session: KeptSession) -> None:
        """Keep a new session."""
        values = msgspec.structs.asdict(session)
        self.execute(insert(schema.sessions).values(**values, journal=journal, created_ns=time.time_ns()))

    def save_wanted(self, session_id: str, *, wanted: bool) -> None:
        """A session was started or stopped; nothing, if it is not kept."""
        self.execute(update(schema.sessions).where(_sessions.id == session_id).values(wanted=wanted))

    def delete_session(self, session_id: str) -> None:
        """A session was deleted, and with it shares and links; nothing, if it is not kept."""
        with self.transaction():
            self.execute(delete(schema.sessions).where(_sessions.id == session_id))
            self.execute(delete(schema.shares).where(_shares.session == session_id))
            self.execute(delete(schema.links).where(_links.session == session_id))

    def forget_shares_of_the_gone(self) -> None:
        """Drop shares and links of sessions that no journal has: a session in memory ends with its hub."""
        kept = select(_sessions.id)
        with self.transaction():
            self.execute(delete(schema.shares).where(_shares.session.not_in(kept)))
            self.execute(delete(schema.links).where(_links.session.not_in(kept)))

    def shares(self) -> list[Share]:
        """All shares, by person."""
        rows = self.execute(select(schema.shares).order_by(_shares.session, _shares.person))
        return [
            Share(
                session=row.session,
                person=row.person,
                capabilities=tuple(row.capabilities.split()),
                created_s=row.created_s,
            )
            for row in rows
        ]

    def save_share(self, share: Share) -> None:
        """Share a session with a person, in place of an earlier share; ConfigError when it has too many."""
        values = {"capabilities": " ".join(share.capabilities), "created_s": share.created_s}
        of_session = _shares.session == share.session
        with self.transaction():
            if self.execute(
                update(schema.shares).where(of_session, _shares.person == share.person).values(values)
            ).rowcount:
                return
            if self.execute(select(func.count()).where(of_session)).scalar_one() >= MAX_SHARES:
                raise ConfigError(f"a session is shared with {MAX_SHARES} people at most; take it from one first")
            self.execute(insert(schema.shares).values(session=share.session, person=share.person, **values))

    def delete_share(self, session_id: str, person: str) -> None:
        """A session is shared with that person no longer; NotFoundError if it was not."""
        shared = (_shares.session == session_id) & (_shares.person == person)
        if not self.execute(delete(schema.shares).where(shared)).rowcount:
            raise NotFoundError(f"the session is not shared with {person!r:.80}")

    def links(self, now_s: int) -> list[tuple[Link, bytes]]:
        """The links that are good, oldest first, each with its secret's hash."""
        good = select(*_LINK_COLUMNS, _links.token_hash).where(_links.expires_s > now_s)
        rows = self.execute(good.order_by(_links.created_s, _links.id)).mappings()
        return [(Link(**{c.name: row[c.name] for c in _LINK_COLUMNS}), row["token_hash"]) for row in rows]

    def add_link(self, session_id: str, person: str, now_s: int, expires_s: int) -> tuple[Link, str]:
        """A new link and its secret, which is not kept; links that ended are forgotten. ConfigError when the session
        has too many."""
        link = Link(id=secrets.token_hex(6), session=session_id, person=person, created_s=now_s, expires_s=expires_s)
        secret = f"{LINK_MARK}{link.id}.{secrets.token_urlsafe(32)}"
        with self.transaction():
            self.execute(delete(schema.links).where(_links.expires_s <= now_s))
            if self.execute(select(func.count()).where(_links.session == session_id)).scalar_one() >= MAX_LINKS:
                raise ConfigError(f"a session has {MAX_LINKS} links at most; take one back first")
            values = msgspec.structs.asdict(link)
            self.execute(insert(schema.links).values(**values, token_hash=hash_of(secret)))
        return link, secret

    def delete_link(self, session_id: str, link_id: str) -> None:
        """A link is good no longer; NotFoundError if the session has none of that id."""
        found = (_links.session == session_id) & (_links.id == link_id)
        if not self.execute(delete(schema.links).where(found)).rowcount:
            raise NotFoundError(f"no link {link_id!r:.60}")
