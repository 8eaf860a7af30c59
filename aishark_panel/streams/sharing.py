"""Sharing: what of a session its owner lets others see, people by their names and guests by a link.

A share lets a person view a session, and export from it if it says so; what the person may not do at all, a share does
not allow either. A link is a secret that lets whoever has it view one session until it ends or is taken back; whoever
comes by one is a *guest*.
"""

import secrets
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Final

from aishark_panel.errors import ConfigError
from aishark_panel.streams.people import Capability, Person, check_name, known_capabilities
from aishark_panel.streams.store import Link, Share, Store
from aishark_panel.streams.store.database import hash_of
from aishark_panel.streams.store.sessions import LINK_MARK

__all__ = ["DEFAULT_LINK_LIFE_S", "SHAREABLE", "Sharing"]

SHAREABLE: Final[tuple[Capability, ...]] = ("view", "export")
DEFAULT_LINK_LIFE_S: Final = 24 * 3_600
MAX_LINK_LIFE_S: Final = 90 * 86_400


class Sharing:
    """Shares and links of all sessions. Time is Unix time in seconds."""

    def __init__(self, store: Store, now_s: float) -> None:
        self._store = store
        self._shares: defaultdict[str, dict[str, Share]] = defaultdict(dict)
        for share in store.shares():
            self._shares[share.session][share.person] = share
        self._links = {link.id: (link, token_hash) for link, token_hash in store.links(int(now_s))}

    def allows(self, person: Person, session_id: str) -> tuple[Capability, ...]:
        """What others let a person do with a session; nothing, if it is not shared with them."""
        if person.guest:
            return ("view",) if person.guest.session == session_id else ()
        share = self._shares.get(session_id, {}).get(person.name)
        return tuple(c for c in SHAREABLE if share and c in share.capabilities)

    def share(self, session_id: str, name: str, capabilities: Iterable[str], now_s: float) -> Share:
        """Share a session with a person, in place of an earlier share. ConfigError where it makes no sense."""
        check_name(name)
        wanted = known_capabilities(capabilities)
        if "view" not in wanted or not set(wanted) <= set(SHAREABLE):
            raise ConfigError("a session is shared to 'view', or to 'view' and 'export'")
        share = Share(session=session_id, person=name, capabilities=wanted, created_s=int(now_s))
        self._store.save_share(share)
        self._shares[session_id][name] = share
        return share

    def unshare(self, session_id: str, name: str) -> None:
        """Take a session back from a person; NotFoundError if it is not shared with them."""
        self._store.delete_share(session_id, name)
        self._shares[session_id].pop(name, None)

    def shares(self, session_id: str) -> list[Share]:
        """With whom a session is shared, by name."""
        return [share for _, share in sorted(self._shares.get(session_id, {}).items())]

    def make_link(self, session_id: str, by: str, life_s: float, now_s: float) -> tuple[Link, str]:
        """A link to a session, and its secret, which is told this once."""
        if not 1 <= life_s <= MAX_LINK_LIFE_S:
            raise ConfigError(f"a link lives from 1 second to {MAX_LINK_LIFE_S // 86_400} days")
        link, secret = self._store.add_link(session_id, by, int(now_s), int(now_s + life_s))
        self._links = {i: kept for i, kept in self._links.items() if kept[0].expires_s > now_s}
        self._links[link.id] = link, hash_of(secret)
        return link, secret

    def links(self, session_id: str, now_s: float) -> list[Link]:
        """The links to a session that are good, oldest first."""
        return [link for link, _ in self._links.values() if link.session == session_id and link.expires_s > now_s]

    def take_back(self, session_id: str, link_id: str) -> None:
        """A link is good no longer; NotFoundError if the session has none of that id."""
        self._store.delete_link(session_id, link_id)
        self._links.pop(link_id, None)

    def end_links_of(self, maker: str, may_keep: Callable[[str], bool]) -> None:
        """The links that somebody made are good no longer, but those to sessions (by id) that they may keep."""
        for link, _ in list(self._links.values()):
            if link.person == maker and not may_keep(link.session):
                self.take_back(link.session, link.id)

    def forget(self, session_id: str) -> None:
        """A session was deleted (as the store knows already)."""
        self._shares.pop(session_id, None)
        self._links = {i: kept for i, kept in self._links.items() if kept[0].session != session_id}

    def guest(self, secret: str) -> Person | None:
        """Who comes by the link with that secret; None if there is none."""
        link_id = secret.removeprefix(LINK_MARK).partition(".")[0] if secret.startswith(LINK_MARK) else ""
        if (kept := self._links.get(link_id)) is None or not secrets.compare_digest(hash_of(secret), kept[1]):
            return None
        link, view = kept[0], frozenset(SHAREABLE[:1])
        # No person's name has a space in it.
        return Person(name=f"link {link.id}", capabilities=view, token_id=link.id, expires_s=link.expires_s, guest=link)

    def admits(self, guest: Link) -> bool:
        """Whether a link that let somebody in is still there."""
        return guest.id in self._links
