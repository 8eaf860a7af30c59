"""Speaks to the service manager that started us, if one did: systemd's notification protocol, sd_notify(3).

It is told by datagrams when the agent is ready, how it is, that it lives (watchdog), and that it stops.
"""

import contextlib
import os
import socket
from collections.abc import Mapping

__all__ = ["ServiceManager"]


class ServiceManager:
    """Nothing is sent where nobody listens."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        self.watchdog_s = self._watchdog(environment) if self._address else 0.0
        """within this time it expects to be told that we live; 0: never"""
        self._status = ""

    @staticmethod
    def _watchdog(environment: Mapping[str, str]) -> float:
        """As sd_watchdog_enabled(3)."""
        meant = environment.get("WATCHDOG_PID", "") in ("", str(os.getpid()))
        text = environment.get("WATCHDOG_USEC", "")
        return int(text) / 1e6 if meant and text.isdecimal() else 0.0

    def ready(self) -> None:
        """The source is open; the hub may still be away."""
        self._send("READY=1")

    def status(self, text: str) -> None:
        """A line for `systemctl status`."""
        if text != self._status:
            self._status = text
            self._send(f"STATUS={' '.join(text.split())}")

    def alive(self) -> None:
        """Both threads move."""
        self._send("WATCHDOG=1")

    def starting(self, more_s: float) -> None:
        """The start takes longer than usual: wait for so much longer from now on."""
        self._send(f"EXTEND_TIMEOUT_USEC={more_s * 1e6:.0f}")

    def stopping(self) -> None:
        """The end has begun."""
        self._send("STOPPING=1")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.setblocking(False)
            channel.sendto(message.encode(), address)
