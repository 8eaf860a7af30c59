"""Hubs that are children of this process, on loopback: for when no hub's address is given."""

import atexit
import contextlib
import json
import os
import secrets
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from typing import Final

from aishark_panel.errors import HubError

__all__ = ["EmbeddedHub", "embedded_hub", "start_hub"]

_START_TIMEOUT_S: Final = 60.0


@dataclass(slots=True)
class EmbeddedHub:
    """A hub that runs as a child of this process and ends with it."""

    url: str
    token: str = field(repr=False)
    process: "subprocess.Popen[str]"

    def close(self) -> None:
        """Stop the hub: closing its standard input tells it that its parent is done."""
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                with contextlib.suppress(OSError):
                    pipe.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


_embedded: EmbeddedHub | None = None
_embedded_lock: Final = threading.Lock()


def start_hub(*options: str, token: str | None = None) -> EmbeddedHub:
    """Start `aishark hub` with these options as a child on loopback and wait until it listens.

    Raises HubError with the hub's own words if it does not start.
    """
    token = token or secrets.token_urlsafe(24)
    process = subprocess.Popen(
        [sys.executable, "-m", "aishark_panel", "hub", "--embedded", *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "AISHARK_TOKEN": token},
        text=True,
        start_new_session=True,  # Ctrl-C reaches us alone; we stop the hub last
    )
    assert process.stdout is not None
    watchdog = threading.Timer(_START_TIMEOUT_S, process.kill)
    watchdog.start()
    line = process.stdout.readline()
    watchdog.cancel()
    try:
        return EmbeddedHub(json.loads(line)["url"], token, process)
    except (ValueError, KeyError, TypeError) as error:
        process.kill()
        EmbeddedHub("", token, process).close()
        raise HubError("The hub did not start; it says why above.") from error


def embedded_hub() -> EmbeddedHub:
    """This process's own hub, started on first use; later calls, from any thread or page, return the same one."""
    global _embedded
    with _embedded_lock:
        if _embedded is None or _embedded.process.poll() is not None:
            _embedded = start_hub("--port", "0")
            atexit.register(_embedded.close)
        return _embedded
