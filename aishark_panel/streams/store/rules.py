"""Rules that people keep on the hub: each has an owner, a person's name, or "" for the hub's own."""

from typing import Any, Final

import msgspec
from sqlalchemy import delete, func, insert, select, update

from aishark_panel.errors import ConfigError, NotFoundError
from aishark_panel.streams.store import schema
from aishark_panel.streams.store.database import Database

__all__ = ["MAX_KEPT_RULES", "RuleRecords"]

MAX_KEPT_RULES: Final = 200
"""Most of one owner."""

_rules: Final = schema.rules.c


class RuleRecords(Database):
    """Rules by owner and name, as they were written (alerts/rule.py reads them)."""

    def rules(self, owner: str) -> dict[str, dict[str, Any]]:
        """The keys of each rule by its name, in the order of the names."""
        kept = select(_rules.name, _rules.content).where(_rules.owner == owner).order_by(_rules.name)
        return {row.name: msgspec.json.decode(row.content) for row in self.execute(kept)}

    def save_rule(self, owner: str, name: str, content: dict[str, Any]) -> None:
        """Keep a rule, in place of an earlier one of that name; ConfigError when the owner has too many."""
        values = {"content": msgspec.json.encode(content)}
        of_owner = _rules.owner == owner
        with self.transaction():
            if self.execute(update(schema.rules).where(of_owner, _rules.name == name).values(values)).rowcount:
                return
            if self.execute(select(func.count()).where(of_owner)).scalar_one() >= MAX_KEPT_RULES:
                raise ConfigError(f"there are {MAX_KEPT_RULES} rules of yours, the most; delete one first")
            self.execute(insert(schema.rules).values(owner=owner, name=name, **values))

    def delete_rule(self, owner: str, name: str) -> None:
        """Forget a rule; NotFoundError if the owner keeps none of that name."""
        found = (_rules.owner == owner) & (_rules.name == name)
        if not self.execute(delete(schema.rules).where(found)).rowcount:
            raise NotFoundError(f"you keep no rule {name!r:.70}; those of the hub are there for everybody and stay")
