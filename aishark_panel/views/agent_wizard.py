"""Adding an agent, step by step: its name, its key and the commands for its host, and the wait until it is there."""

from typing import Any, Final

from aishark_panel.views.agent_commands import check_interface, ways
from aishark_panel.views.feed import Feed

__all__ = ["Wizard"]

_DEFAULT_INTERFACE: Final = "eth0"


class Wizard:
    """What the wizard shows, if it is open. A key is told once: whoever closes it has to make another one."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self.state: dict[str, Any] | None = None
        """step ('name', 'wait' or 'here'), and what it shows; None while it is closed"""

    def open(self) -> None:
        """Ask for a name."""
        self.state = {"step": "name", "interface": _DEFAULT_INTERFACE, "problem": ""}

    def close(self) -> None:
        """Put it away, and with it the key."""
        self.state = None

    async def register(self, name: str, interface: str) -> None:
        """Give an agent of that name a key and show the commands. ConfigError where one of the two is no good."""
        check_interface(interface)
        self._wait_for(await self._feed.client.agent_register(name.strip()), interface)

    async def replace_key(self, agent: str, interface: str = _DEFAULT_INTERFACE) -> None:
        """Give an agent that has a key another one and show the commands."""
        self._wait_for(await self._feed.client.agent_new_key(agent), interface)

    def _wait_for(self, agent: dict[str, Any], interface: str) -> None:
        self.state = {
            "step": "wait",
            "id": agent["id"],
            "name": agent["name"],
            "key": agent["key"],
            "ways": ways(self._feed.client.url, agent["key"], interface),
            "here": "",
        }

    def look(self, agents: list[dict[str, Any]]) -> None:
        """See whether the agent that is waited for has said hello."""
        state = self.state
        if state is None or state["step"] == "name":
            return
        agent = next((each for each in agents if each["id"] == state["id"]), None)
        if agent is None or agent["state"] == "offline":
            return
        self.state = {**state, "step": "here", "here": _here(agent)}


def _here(agent: dict[str, Any]) -> str:
    """That an agent is there, and what it does."""
    names = " and ".join(i["name"] for i in agent["interfaces"]) or "no interface yet"
    does = f"captures on {names}" if agent["state"] == "capturing" else "waits for you to start it"
    if agent["source"] != "live" and agent["state"] == "capturing":
        does = f"sends {'made-up traffic' if agent['source'] == 'synthetic' else 'a file'}"
    system = f" ({agent['os']})" if agent["os"] else ""
    return (
        f"{agent['name']} said hello from {agent['host']}{system}. It {does}, into the session {agent['session_name']}."
    )
