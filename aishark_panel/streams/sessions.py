"""The sessions of a hub, each with its one writer: who may make one, and who finds it."""

import contextlib
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Executor
from typing import Any, Final

from aishark_panel.errors import ConfigError, ForbiddenError, NotFoundError
from aishark_panel.streams.about import line
from aishark_panel.streams.admission import Admission
from aishark_panel.streams.alerting import Alerting
from aishark_panel.streams.ingest import Ingest
from aishark_panel.streams.journal import Journal
from aishark_panel.streams.people import OWNER, Person
from aishark_panel.streams.ringshares import RingShares
from aishark_panel.streams.rulebook import Rulebook
from aishark_panel.streams.session import Session
from aishark_panel.streams.store import KeptSession, Store

__all__ = ["DEFAULT_SESSION", "Sessions"]

DEFAULT_SESSION: Final = "live"
MAX_SESSIONS: Final = 100
MAX_SESSIONS_EACH: Final = 25
"""Of one person, so that there are some for others; the hub's owner may have all."""


class Sessions:
    """Sessions by id, oldest first. All methods run on the event loop.

    A ring takes `ring_bytes`, of what `shares` leave. Each session is watched by what `rulebook` has for its owner, and
    its alerts go to `alerting`; where there is a `journal`, it is written there, and named in `store`.
    """

    def __init__(
        self,
        executor: Executor,
        *,
        ring_bytes: int,
        shares: RingShares,
        rulebook: Rulebook,
        alerting: Alerting,
        admission: Admission,
        store: Store,
        journal: Journal | None,
    ) -> None:
        """`executor` takes packets in."""
        self._executor = executor
        self._ring_bytes = ring_bytes
        self._shares = shares
        self._rulebook = rulebook
        self._alerting = alerting
        self._admission = admission
        self._store = store
        self._journal = journal
        self._writers: dict[str, Ingest] = {}
        self._preparing = ""

    def __iter__(self) -> Iterator[Session]:
        return iter([writer.session for writer in self._writers.values()])

    def writer_of(self, session: Session) -> Ingest:
        """The writer of a session that is not deleted."""
        return self._writers[session.id]

    def create(self, name: str, owner: str) -> Session:
        """Make an empty session; ConfigError when there are too many."""
        if len(self._writers) >= MAX_SESSIONS:
            raise ConfigError(f"this hub holds {MAX_SESSIONS} sessions, its most; delete one first")
        if owner != OWNER.name and sum(session.owner == owner for session in self) >= MAX_SESSIONS_EACH:
            raise ConfigError(f"{owner} has {MAX_SESSIONS_EACH} sessions, the most of one person; delete one first")
        owned = [(session.owner, session.ring.limit_bytes) for session in self]
        self._shares.check(owned, owner, self._ring_bytes)
        session = self.new(secrets.token_hex(6), name, owner)
        if self._journal:
            kept = KeptSession(id=session.id, name=name, owner=owner, wanted=True)
            self._store.save_session(self._journal.id, kept)
        self.add(session)
        return session

    def new(self, session_id: str, name: str, owner: str) -> Session:
        """A session that is not among them before `add`; one of an earlier hub has its alerts."""
        rules = self._rulebook.watching(owner)
        session = Session(session_id, name, owner=owner, ring_bytes=self._ring_bytes, rules=rules)
        session.condition.preparing = self._preparing
        self._alerting.add(session)
        return session

    def add(self, session: Session, recovery: AsyncIterator[Callable[[], object]] | None = None) -> None:
        """Let a new session take packets, after the steps that bring back what it had."""
        self._writers[session.id] = Ingest(session, self._executor, self._journal, recovery)

    def remove(self, session_id: str, person: Person) -> Ingest:
        """A session is deleted; its writer, which goes on until it is closed. Errors as `find`."""
        writer = self.writer(session_id, person)
        writer.session.condition.wanted, writer.session.deleted = False, True
        del self._writers[session_id]
        return writer

    def find(self, session_id: str, person: Person) -> Session:
        """The session of that id; NotFoundError if there is none that this person sees, ForbiddenError if it is shared
        with them, but not for what they ask."""
        return self.writer(session_id, person).session

    def writer(self, session_id: str, person: Person) -> Ingest:
        """The writer of the session of that id; errors as `find`."""
        writer = self._writers.get(session_id)
        rights = self._admission.rights(person, writer.session) if writer else ()
        if writer is None or not rights:
            raise NotFoundError(f"no session {session_id!r:.60}; it may have been deleted")
        if person.asks not in rights:
            raise ForbiddenError(f"This session is shared with you to {' and '.join(rights)} only.")
        return writer

    def upload_target(self, name: str, session_id: str | None, person: Person) -> Ingest:
        """The writer of the session an upload goes to: that of the id, or (None) a new one of that name."""
        wanted = self.create(name, person.name).id if session_id is None else session_id
        return self.writer(wanted, person)

    def list(self, person: Person) -> list[dict[str, Any]]:
        """A line about each session that a person sees."""
        return [
            {**line(session), "may": [capability for capability in rights if person.may(capability)]}
            for session in self
            if (rights := self._admission.rights(person, session))
        ]

    def open(self, session_id: str, name: str, owner: str) -> Session:
        """The owner's session of that id, else of that name, else a new one; without a name the default session."""
        name = name or DEFAULT_SESSION
        owned = [session for session in self if session.owner == owner]
        found = [s for s in owned if s.id == session_id] or [s for s in owned if s.name == name]
        return found[0] if found else self.create(name, owner)

    def welcome(self, person: Person) -> None:
        """A person came with a dashboard or a script: there is a session to look at, or to send packets to."""
        if person.may("capture") and not any(person.sees(session.owner) for session in self):
            with contextlib.suppress(ConfigError):  # there is no room for one: they look at what there is
                self.open("", "", person.name)

    def say_preparing(self, what: str) -> None:
        """What the hub must do before any of them can take packets, in words; '' once it is done."""
        self._preparing = what
        for session in self:
            session.condition.preparing = what

    async def rules_changed(self, owner: str) -> None:
        """A person's rules are other ones: their sessions are watched by these from now on."""
        owned = [session for session in self if session.owner == owner]
        await self._alerting.replace_rules(owned, self._rulebook.watching(owner))

    async def close(self) -> None:
        """End all writers."""
        for writer in list(self._writers.values()):  # an upload may make one more meanwhile
            await writer.close()
