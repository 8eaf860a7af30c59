"""What is kept of agents: their keys (hashed), and the orders they were given.

A key is replaced by a new one without a pause: both are good until the agent comes with the new
one, or for KEY_GRACE_S.
"""

import secrets
import time
from collections.abc import Collection
from typing import Any, Final

import msgspec
from sqlalchemy import Row, delete, insert, or_, select, union, update
from sqlalchemy.exc import IntegrityError

from aishark_panel.errors import ConfigError, NotFoundError
from aishark_panel.streams.store import schema
from aishark_panel.streams.store.database import Database, hash_of
from aishark_panel.wire.messages import CaptureSettings

__all__ = ["KEY_GRACE_S", "AgentRecords", "Order", "RegisteredAgent"]

MAX_AGENTS: Final = 10_000
KEY_GRACE_S: Final = 24 * 3_600
"""How long an agent's old key is good beside the new one that was not used yet."""
_ORDER_LIFE_NS: Final = 7 * 86_400 * 10**9
"""How long the order to an agent without a key is kept: its id is that of one run, which may never come back."""

_agents: Final = schema.agents.c
_orders: Final = schema.orders.c
_COLUMNS: Final = (_agents.id, _agents.name, _agents.created_ns, _agents.last_seen_ns, _agents.owner)


class RegisteredAgent(msgspec.Struct, frozen=True, kw_only=True):
    """An agent that has a key."""

    id: str
    name: str
    created_ns: int
    last_seen_ns: int | None
    """when it last connected or left; None: never"""
    owner: str = ""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What the hub last asked of an agent."""

    capture: bool
    session_id: str
    session_name: str
    """session it is to feed; the name counts where the id is gone, as after a restart of the hub"""
    settings: CaptureSettings = CaptureSettings()
    run: str = ""
    """run of the agent that was told; a later one knows nothing of the settings yet"""


class AgentRecords(Database):
    """Registered agents, and orders by agent."""

    def register(self, name: str, owner: str = "") -> tuple[RegisteredAgent, str]:
        """A new agent and its key, which is not kept and can never be read again.

        ConfigError if the owner has one of that name.
        """
        if len(self.agents()) >= MAX_AGENTS:
            raise ConfigError(f"this hub knows {MAX_AGENTS:,} agents, its most; delete one first")
        agent = RegisteredAgent(
            id=secrets.token_hex(6), name=name, created_ns=time.time_ns(), last_seen_ns=None, owner=owner
        )
        key = secrets.token_urlsafe(32)
        try:
            self.execute(insert(schema.agents).values(**msgspec.structs.asdict(agent), key_hash=hash_of(key)))
        except IntegrityError as error:
            raise ConfigError(
                f"there is an agent {name!r:.60} already; delete it first, or choose another name"
            ) from error
        return agent, key

    def agents(self) -> list[RegisteredAgent]:
        """The agents whose keys are good, oldest first."""
        known = select(*_COLUMNS).where(_agents.revoked_ns.is_(None)).order_by(_agents.created_ns, _agents.id)
        return [_agent(row) for row in self.execute(known)]

    def agent_of_key(self, key: str) -> RegisteredAgent | None:
        """The agent that holds a key; None if nobody does (any more)."""
        hashed = hash_of(key)
        still_good = or_(_agents.key_until_ns.is_(None), _agents.key_until_ns > time.time_ns())
        of_key = or_(_agents.next_key_hash == hashed, (_agents.key_hash == hashed) & still_good)
        row = self.execute(select(*_COLUMNS).where(of_key, _agents.revoked_ns.is_(None))).first()
        return _agent(row) if row else None

    def good_keys(self, hashes: Collection[bytes]) -> set[bytes]:
        """Those of some keys, by their hashes, that agents hold now."""
        still_good = or_(_agents.key_until_ns.is_(None), _agents.key_until_ns > time.time_ns())
        not_revoked = _agents.revoked_ns.is_(None)
        newest = select(_agents.next_key_hash).where(_agents.next_key_hash.in_(hashes), not_revoked)
        older = select(_agents.key_hash).where(_agents.key_hash.in_(hashes), still_good, not_revoked)
        return set(self.execute(union(newest, older)).scalars()) if hashes else set()

    def replace_key(self, agent_id: str) -> str:
        """A new key for an agent, told this once; NotFoundError if there is no such agent.

        The key it has stays good until `key_used` says that the new one arrived, KEY_GRACE_S at most.
        """
        key = secrets.token_urlsafe(32)
        until_ns = time.time_ns() + KEY_GRACE_S * 10**9
        changed = self.execute(
            update(schema.agents)
            .where(_agents.id == agent_id, _agents.revoked_ns.is_(None))
            .values(next_key_hash=hash_of(key), key_until_ns=until_ns)
        )
        if not changed.rowcount:
            raise NotFoundError(f"no registered agent {agent_id!r:.60}")
        return key

    def key_used(self, agent_id: str, key: str) -> None:
        """An agent came with that key; if it is its new one, the old one is good no longer."""
        hashed = hash_of(key)
        self.execute(
            update(schema.agents)
            .where(_agents.id == agent_id, _agents.next_key_hash == hashed)
            .values(key_hash=hashed, next_key_hash=None, key_until_ns=None)
        )

    def seen(self, agent_id: str) -> None:
        """The agent connects or leaves just now."""
        self.execute(update(schema.agents).where(_agents.id == agent_id).values(last_seen_ns=time.time_ns()))

    def revoke(self, agent_id: str) -> None:
        """The agent's key is good no longer and its name free; NotFoundError if there is no such agent."""
        good = (_agents.id == agent_id) & _agents.revoked_ns.is_(None)
        if not self.execute(update(schema.agents).where(good).values(revoked_ns=time.time_ns())).rowcount:
            raise NotFoundError(f"no registered agent {agent_id!r:.60}")
        self.execute(delete(schema.orders).where(_orders.agent == agent_id))

    def order(self, agent_id: str) -> Order | None:
        """What was last asked of an agent; None if nothing was."""
        row = self.execute(select(_orders.order).where(_orders.agent == agent_id)).first()
        return msgspec.json.decode(row.order, type=Order) if row else None

    def save_order(self, agent_id: str, order: Order) -> None:
        """Keep what is asked of an agent, in place of what was asked before."""
        values = {"order": msgspec.json.encode(order), "given_ns": time.time_ns()}
        with self.transaction():
            if not self.execute(update(schema.orders).where(_orders.agent == agent_id).values(values)).rowcount:
                self.execute(insert(schema.orders).values(agent=agent_id, **values))

    def forget_old_orders(self) -> None:
        """Drop what was asked of runs that will hardly come back."""
        old = _orders.given_ns < time.time_ns() - _ORDER_LIFE_NS
        self.execute(delete(schema.orders).where(old, _orders.agent.not_in(select(_agents.id))))


def _agent(row: Row[Any]) -> RegisteredAgent:
    return RegisteredAgent(**row._asdict())
