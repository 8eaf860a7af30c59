"""The commands that bring an agent to a hub, as the wizard of the agents' tab shows them. Pure.

Its key goes into a file that its owner alone reads: on a command line every list of processes would show it.
"""

import json
import re
from typing import Any, Final
from urllib.parse import urlsplit

from aishark_panel.errors import ConfigError

__all__ = ["check_interface", "ways"]

_INTERFACE: Final = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.@:-]{0,63}")
_LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
_KEY_FILE: Final = "aishark.key"


def check_interface(name: str) -> str:
    """The name, if an interface can have it; it becomes part of commands. Raises ConfigError."""
    if not _INTERFACE.fullmatch(name):
        raise ConfigError(f"{name!r:.60} is no name of an interface; 'ip link' lists them, 'any' is all of them")
    return name


def ways(hub: str, key: str, interface: str) -> list[dict[str, Any]]:
    """How to start an agent with that key, in the order of how usual they are: title, note and steps of each.

    A step has a text that says what it does, and the command.
    """
    save = "Save its configuration"
    if hub.startswith("https://"):
        save += "; where a CA of your own signed the hub's certificate, with  ca: hub-ca.pem  behind the url"
    save_key = f"(umask 077; printf '%s\\n' '{key}' > {_KEY_FILE})"
    return [
        {
            "name": "on the host",
            "note": _reach(hub),
            "steps": [
                _step("Install it on the host (Python 3.11 or newer)", "pip install aishark-panel"),
                _step("Save its key", save_key),
                _step(save, _configuration(hub, interface, "agent.yaml", _KEY_FILE)),
                _step(
                    "Run it; to capture on an interface it needs root, or CAP_NET_RAW",
                    'sudo "$(command -v aishark)" agent --config agent.yaml',
                ),
            ],
        },
        {
            "name": "as a service",
            "note": _reach(hub),
            "steps": [
                _step(
                    "Install it where every user may read, as root (sudo -i)",
                    "python3 -m venv /opt/aishark && /opt/aishark/bin/pip install aishark-panel\n"
                    "install -d /etc/aishark",
                ),
                _step("Save its key", f"printf '%s\\n' '{key}' | install -m 600 /dev/stdin /etc/aishark/key"),
                _step(save, _configuration(hub, interface, "/etc/aishark/agent.yaml")),
                _step(
                    "Make the systemd unit, and start it",
                    "/opt/aishark/bin/aishark agent install --write\n"
                    "systemctl daemon-reload && systemctl enable --now aishark-agent",
                ),
            ],
        },
        {
            "name": "over ssh",
            "note": "For a host that has sshd and tcpdump, and nothing of ours. Run this where aishark is installed "
            "and 'ssh user@host' works without a password.",
            "steps": [
                _step("Save its key", save_key),
                _step(
                    "Run it, with the host's name for user@host",
                    f'AISHARK_TOKEN="$(cat {_KEY_FILE})" aishark agent --ssh user@host -i {interface} --hub {hub}',
                ),
            ],
        },
    ]


def _step(text: str, command: str) -> dict[str, str]:
    return {"text": text, "command": command}


def _configuration(hub: str, interface: str, path: str, key_file: str = "") -> str:
    """A command that writes the configuration; without a key file the service's own is used. JSON strings are YAML."""
    lines = [f"cat > {path} <<'END'", "agent:", f"  interfaces: [{json.dumps(interface)}]", "server:"]
    lines += [f"  url: {json.dumps(hub)}"]
    lines += [f"  api_key_file: {key_file}"] if key_file else []
    return "\n".join([*lines, "END"])


def _reach(hub: str) -> str:
    """What to do where the hub's address means nothing to other hosts."""
    address = urlsplit(hub)
    if address.hostname not in _LOOPBACK:
        return ""
    port = address.port or 80
    return (
        f"This hub listens on its own host only. For another host leave a tunnel open from here: "
        f"ssh -N -R {port}:127.0.0.1:{port} user@host"
    )
