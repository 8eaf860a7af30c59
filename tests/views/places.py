"""The part of the hub in memory that is about sharing, exports, recorded files and keys of agents."""

from typing import Any

from aishark_panel.errors import ConfigError, NotFoundError

__all__ = ["MemoryPlaces", "agent_line"]


def agent_line(**changes: Any) -> dict[str, Any]:
    """An agent as the hub tells it (docs/protocol.md)."""
    line = {
        "id": "a1",
        "name": "edge",
        "registered": True,
        "state": "capturing",
        "reason": "",
        "session": "5e55",
        "session_name": "lab",
        "source": "live",
        "host": "edge.test",
        "os": "Linux 6.1",
        "version": "1.0",
        "packets": 100,
        "interfaces": [
            {
                "name": "eth0",
                "link_type": 1,
                "filter": "not port 22",
                "snaplen": 262_144,
                "packets": 100,
                "bytes": 9_000,
            }
        ],
        "round_trip_ms": 0.52,
        "clock_offset_ms": 0.0,
        "sampling": 1,
        "sampling_by": "packet",
        "payload": "full",
        "max_packets_per_second": 0,
        "settings": {
            "interfaces": None,
            "filter": "tcp",
            "snaplen": None,
            "sampling": None,
            "sampling_by": None,
            "payload": None,
            "max_packets_per_second": None,
        },
        "counters": {"kernel_dropped": 2, "dropped_outbox_full": 3, "throttled": 4},
        "last_seen_ns": 1_700_000_000_000_000_000,
    }
    return {**line, **changes}


class MemoryPlaces:
    """What HubClient offers of it, kept in lists."""

    def __init__(self) -> None:
        self.shared: dict[str, list[str]] = {}
        self.made_links: list[dict[str, Any]] = []
        self.deleted: list[str] = []
        self.export: dict[str, Any] = {}
        """what is known of the export that was begun last"""
        self.saved_profiles: dict[str, dict[str, object]] = {}

    async def shares(self, session: str) -> list[dict[str, Any]]:
        return [{"person": name, "capabilities": may} for name, may in self.shared.items()]

    async def share(self, session: str, person: str, capabilities: list[str]) -> None:
        if not person:
            raise ConfigError("a person has a name")
        self.shared[person] = capabilities

    async def unshare(self, session: str, person: str) -> None:
        del self.shared[person]

    async def links(self, session: str) -> list[dict[str, Any]]:
        return self.made_links

    async def link(self, session: str, life_s: float) -> dict[str, Any]:
        link = {"id": f"l{len(self.made_links)}", "person": "", "expires_s": int(1_700_000_000 + life_s)}
        self.made_links.append(link)
        return {**link, "token": "secret of the link"}

    async def unlink(self, session: str, link: str) -> None:
        self.made_links = [each for each in self.made_links if each["id"] != link]

    async def delete(self, session: str) -> None:
        self.deleted.append(session)

    async def recording_ticket(self, session: str, recording: str, file: str) -> str:
        return f"{recording}-{file}"

    async def export_status(self, session: str, ticket: str) -> dict[str, Any]:
        if not self.export:
            raise NotFoundError("no such export; it may have been forgotten")
        return dict(self.export)

    async def export_cancel(self, session: str, ticket: str) -> dict[str, Any]:
        self.export |= {"state": "cancelled", "reason": "It was cancelled."}
        return dict(self.export)

    async def agent_register(self, name: str, owner: str = "") -> dict[str, Any]:
        if name == "taken":
            raise ConfigError("there is an agent of that name")
        return {"id": "b2", "name": name, "key": "ak_secret"}

    async def agent_new_key(self, agent: str) -> dict[str, Any]:
        return {"id": agent, "name": "edge", "key": "ak_another", "old_key_good_s": 86_400}

    async def agent_delete(self, agent: str) -> None:
        self.deleted.append(agent)

    async def profile_save(self, name: str, **settings: object) -> None:
        self.saved_profiles[name] = settings

    async def profile_delete(self, name: str) -> None:
        if name not in self.saved_profiles:
            raise NotFoundError(f"no profile {name!r}")
        del self.saved_profiles[name]
