"""Admission: who is let in, what of others' sessions is there for them, and the end of what stays open too long."""

import asyncio
import logging
from typing import Final, Protocol
from urllib.parse import quote
from weakref import WeakSet

from aishark_panel.streams.oidc import Provider
from aishark_panel.streams.people import CAPABILITIES, Capability, People, Person
from aishark_panel.streams.session import Session
from aishark_panel.streams.sharing import Sharing
from aishark_panel.streams.store import Store

__all__ = ["Admission", "OpenSocket"]

log = logging.getLogger(__name__)

CHECK_PERIOD_S: Final = 1.0
"""How often each open socket is asked whether it is still admitted."""


class OpenSocket(Protocol):
    """A connection that stays open, as far as it is needed here."""

    key_hash: bytes
    """of the key that an agent showed; b"": it came with a token"""

    def check(self) -> None:
        """Close it if its peer is not admitted any more."""


class Admission:
    """People by their tokens, guests by their links, and all sockets that are open."""

    def __init__(self, people: People, sharing: Sharing, provider: Provider | None, store: Store) -> None:
        self._people = people
        self._sharing = sharing
        self._provider = provider
        self._store = store
        self.open_sockets: WeakSet[OpenSocket] = WeakSet()
        self.good_keys: set[bytes] = set()
        """hashes of the keys of open sockets that were good as `watch` last looked"""

    @property
    def challenge(self) -> str:
        """How to prove who one is, for the header WWW-Authenticate (RFC 9110): by a token, and whence tokens come."""
        login = ', login="/api/login"' if self._people.have_accounts() else ""
        provider = f', provider="{quote(self._provider.config.called)}"' if self._provider else ""
        return f'Bearer realm="aishark"{login}{provider}'

    def identify(self, token: str, now_s: float) -> Person | None:
        """Who comes with a token or the secret of a link; None if it is nobody's (any more)."""
        guest = self._sharing.guest(token)
        if guest is None:
            return self._people.person(token, now_s)
        return guest if self.admits(guest, now_s) else None

    def admits(self, person: Person, now_s: float, looks_at: Session | None = None) -> bool:
        """Whether what proved a person is still good, and the session that they look at there for them."""
        if not self._people.admits(person, now_s) or (person.guest and not self._sharing.admits(person.guest)):
            return False
        return looks_at is None or looks_at.deleted or person.asks in self.rights(person, looks_at)

    def rights(self, person: Person, session: Session) -> tuple[Capability, ...]:
        """What a person, if allowed at all, may do with a session; nothing, if it is not there for them."""
        return CAPABILITIES if person.sees(session.owner) else self._sharing.allows(person, session.id)

    async def watch(self) -> None:
        """As long as the hub runs: end what is open with a token that ended, or on a session not shared any more."""
        while True:
            await asyncio.sleep(CHECK_PERIOD_S)
            try:
                self.check()
            except Exception:  # the database may be locked for a moment
                log.exception("open connections could not be checked")

    def check(self) -> None:
        """End what is open and should not be."""
        sockets = list(self.open_sockets)
        self.good_keys = self._store.good_keys({socket.key_hash for socket in sockets if socket.key_hash})
        for socket in sockets:
            try:
                socket.check()
            except Exception:  # one socket's fault is not the others'
                log.exception("a connection could not be checked")
