"""Profiles: settings of captures under a name. The hub's own (owner "") are there for everybody, a person's for that
person."""

from typing import Final

import msgspec
from sqlalchemy import delete, func, insert, select, update

from aishark_panel.errors import ConfigError, NotFoundError
from aishark_panel.streams.store import schema
from aishark_panel.streams.store.database import Database
from aishark_panel.wire.messages import CaptureSettings

__all__ = ["ProfileRecords"]

MAX_PROFILES: Final = 1_000
"""Most of one owner."""

_profiles: Final = schema.profiles.c


class ProfileRecords(Database):
    """Profiles by owner and name."""

    def profiles(self, owner: str = "") -> dict[str, CaptureSettings]:
        """Settings by the profile's name, in the order of the names; an owner's own come before the hub's."""
        seen = select(_profiles.name, _profiles.settings).where(_profiles.owner.in_(("", owner)))
        rows = self.execute(seen.order_by(_profiles.name, _profiles.owner))
        return {row.name: msgspec.json.decode(row.settings, type=CaptureSettings) for row in rows}

    def profile(self, name: str, owner: str = "") -> CaptureSettings:
        """The settings of a profile; NotFoundError if there is none of that name."""
        try:
            return self.profiles(owner)[name]
        except KeyError:
            raise NotFoundError(f"no profile {name!r:.60}") from None

    def save_profile(self, name: str, settings: CaptureSettings, owner: str = "") -> None:
        """Make a profile, or change it; ConfigError when there are too many."""
        values = {"settings": msgspec.json.encode(settings)}
        of_owner = _profiles.owner == owner
        with self.transaction():
            if self.execute(update(schema.profiles).where(of_owner, _profiles.name == name).values(values)).rowcount:
                return
            if self.execute(select(func.count()).where(of_owner)).scalar_one() >= MAX_PROFILES:
                raise ConfigError(f"there are {MAX_PROFILES:,} profiles, the most; delete one first")
            self.execute(insert(schema.profiles).values(owner=owner, name=name, **values))

    def delete_profile(self, name: str, owner: str = "") -> None:
        """Forget a profile; what was started with it goes on. NotFoundError if the owner has none of that name."""
        found = (_profiles.owner == owner) & (_profiles.name == name)
        if not self.execute(delete(schema.profiles).where(found)).rowcount:
            raise NotFoundError(f"no profile {name!r:.60}")
