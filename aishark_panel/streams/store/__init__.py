"""What a hub remembers over restarts, in one SQLite file: people, agents, orders, sessions, profiles, rules, tokens,
audit.

Each concept has a module of its own here. An *agent* is registered under a name and holds a key, of which only the
SHA-256 is kept. An *order* is what the hub last asked of an agent: to capture or not, for which session, with which
settings. A *session* is kept where a journal keeps its packets. A *profile* is a set of settings under a name, a *rule*
says what to watch for. Agents, sessions, profiles and rules have an *owner*, a person's name, or "" for the hub's own.
"""

import os
from pathlib import Path

from aishark_panel.streams.store.accounts import Account, AccountRecords, Login
from aishark_panel.streams.store.agents import KEY_GRACE_S, AgentRecords, Order, RegisteredAgent
from aishark_panel.streams.store.auditlog import MAX_AUDIT_ENTRIES, AuditRecords
from aishark_panel.streams.store.profiles import ProfileRecords
from aishark_panel.streams.store.rules import MAX_KEPT_RULES, RuleRecords
from aishark_panel.streams.store.sessions import KeptSession, Link, SessionRecords, Share
from aishark_panel.streams.store.tokens import IssuedToken, TokenRecords

__all__ = [
    "KEY_GRACE_S",
    "MAX_AUDIT_ENTRIES",
    "MAX_KEPT_RULES",
    "Account",
    "IssuedToken",
    "KeptSession",
    "Link",
    "Login",
    "Order",
    "RegisteredAgent",
    "Share",
    "Store",
    "default_state_dir",
]


def default_state_dir() -> Path:
    """Where a hub that is not told otherwise keeps its state (XDG base directory specification)."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "aishark"


class Store(AccountRecords, AgentRecords, SessionRecords, ProfileRecords, RuleRecords, TokenRecords, AuditRecords):
    """All of it, in a folder, made if need be; without a folder, in memory. ConfigError if it cannot be used.

    All calls but `make_safe` take a millisecond or less and belong to the thread that made the store (the hub's event
    loop).
    """

    def __init__(self, folder: Path | None = None) -> None:
        super().__init__(folder)
        self.forget_old_orders()
        self.forget_shares_of_the_gone()
