"""The bounds that a host's owner sets to what a hub may ask of its agent; the configuration's section `allow:`.

What goes beyond a bound is refused with a sentence that names the bound. Pure.
"""

from dataclasses import dataclass
from typing import Final

from aishark_panel.agent.scope import CaptureScope, payload_order
from aishark_panel.errors import ConfigError
from aishark_panel.wire.messages import CaptureSettings, PayloadPolicy

__all__ = ["EVERY_INTERFACE", "Bounds"]

EVERY_INTERFACE: Final = "any"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What a hub may ask. A bound that is left open is the agent's own setting."""

    remote_control: bool = True
    """whether it may ask for anything but to pause and to go on"""
    interfaces: tuple[str, ...] = ()
    """interfaces it may choose among; `any` stands for all there are"""
    snaplen: int = 0
    """most bytes of a frame; 0: the own snaplen"""
    max_packets_per_second: int = 0
    """highest rate; 0: the own one"""
    payload: PayloadPolicy | None = None
    """most that is sent of packets; None: the own policy"""

    def allows(self, interface: str, own: CaptureScope) -> bool:
        """Whether the hub may ask for that interface."""
        allowed = self.interfaces or own.interfaces
        return self.remote_control and (interface in allowed or EVERY_INTERFACE in allowed)

    def scope(self, own: CaptureScope, asked: CaptureSettings) -> CaptureScope:
        """What to capture when the hub asks for that: ConfigError beyond a bound, FilterError where
        the filters cannot join."""
        scope = own.adjusted(asked)
        if scope != own:
            self.require_remote_control()
        if scope.interfaces != own.interfaces:
            self._check_interfaces(scope, own)
        _check(scope.snaplen, own.snaplen, self.snaplen, "snaplen", "agent.snaplen", "bytes of a frame")
        self._check_payload(scope, own)
        # No limit is beyond any limit.
        _check(
            scope.max_packets_per_second or 2**62,
            own.max_packets_per_second or 2**62,
            self.max_packets_per_second,
            "max_packets_per_second",
            "performance.max_packets_per_second",
            "packets/s",
        )
        return scope

    def require_remote_control(self) -> None:
        """ConfigError if the hub may ask for nothing but to pause and to go on."""
        if not self.remote_control:
            raise ConfigError("The owner of this host lets the hub change and ask nothing (allow.remote_control).")

    def _check_payload(self, scope: CaptureScope, own: CaptureScope) -> None:
        most, name = (own.payload, "agent.payload") if self.payload is None else (self.payload, "allow.payload")
        if scope.payload != own.payload and payload_order(scope.payload) > payload_order(most):
            raise ConfigError(
                f"The owner of this host allows the payload policy {most!r} at most ({name}), not {scope.payload!r}."
            )

    def _check_interfaces(self, scope: CaptureScope, own: CaptureScope) -> None:
        for name in scope.interfaces:
            if not self.allows(name, own):
                allowed = self.interfaces or own.interfaces
                bound = "allow.interfaces" if self.interfaces else "agent.interfaces"
                raise ConfigError(
                    f"The owner of this host allows the interfaces {', '.join(allowed) or 'none'} ({bound}), "
                    f"not {name!r:.60}."
                )


def _check(wanted: int, own: int, bound: int, key: str, own_key: str, unit: str) -> None:
    most, name = (bound, f"allow.{key}") if bound else (own, own_key)
    if wanted > most and wanted != own:
        raise ConfigError(f"The owner of this host allows at most {most:,} {unit} ({name}); {wanted:,} were asked for.")
