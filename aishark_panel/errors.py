"""Every error a caller of aishark_panel may meet.

::

    AisharkError                  a sentence for a person: what was wrong, where, what to do next
    +-- ConfigError               an option, file or environment value that cannot be used
    +-- CaptureError              a capture that cannot start or go on
    |   +-- CapturePermissionError    the process may not open a packet socket
    |   +-- FilterError           a capture filter (BPF) that does not compile
    +-- CaptureFileError          bytes that are not a capture file we can read
    +-- ExpressionError           a display filter that does not parse; carries its position
    +-- ProtocolError             a peer broke the protocol (docs/protocol.md)
    +-- HubError                  the hub refused or could not serve a request
        +-- HubUnreachableError   nobody answers at the hub's address
        +-- NotAuthorizedError    the token or key is missing or wrong
        +-- ForbiddenError        the token is good, but does not allow this
        +-- TooManyRequestsError  the key asks too often; carries how long to wait
        +-- NotFoundError         no such session, agent, packet or ticket
        +-- ConflictError         the request does not fit the state that things are in now

The command line prints `str(error)` and exits with status 2; it shows no traceback for these.
"""

from typing import Final

__all__ = [
    "WHERE_TOKENS_COME_FROM",
    "AisharkError",
    "CaptureError",
    "CaptureFileError",
    "CapturePermissionError",
    "ConfigError",
    "ConflictError",
    "ExpressionError",
    "FilterError",
    "ForbiddenError",
    "HubError",
    "HubUnreachableError",
    "NotAuthorizedError",
    "NotFoundError",
    "ProtocolError",
    "TooManyRequestsError",
    "token_refused",
]

WHERE_TOKENS_COME_FROM: Final = (
    "Set AISHARK_TOKEN to the one that it printed at its start, or to one that its owner gives you with "
    "'aishark token issue'"
)
"""What to do for a hub's token; ends a sentence that names the hub, without its full stop."""


class AisharkError(Exception):
    """Base of all errors that are somebody's to act on; its text is written for that person."""


class ConfigError(AisharkError):
    """An option, file or environment value that cannot be used."""


class CaptureError(AisharkError):
    """A capture that cannot start or go on."""


class CapturePermissionError(CaptureError):
    """The process may not open a packet socket."""


class FilterError(CaptureError):
    """A capture filter (BPF) that does not compile."""


class CaptureFileError(AisharkError):
    """Bytes that are not a capture file we can read."""


class ExpressionError(AisharkError):
    """A display filter that does not parse or does not type-check.

    `position` is the 0-based offset in the text where it went wrong; None when it has no single place. `meant` is what
    probably should stand there instead of the word or character that does; '' where nobody can tell.
    """

    def __init__(self, message: str, position: int | None = None, meant: str = "") -> None:
        super().__init__(message)
        self.position = position
        self.meant = meant


class ProtocolError(AisharkError):
    """A peer broke the protocol; the connection is closed with this text as the reason."""


class HubError(AisharkError):
    """The hub refused or could not serve a request."""


class HubUnreachableError(HubError):
    """Nobody answers at the hub's address."""


class NotAuthorizedError(HubError):
    """The token or key is missing or wrong."""


def token_refused(hub: str) -> NotAuthorizedError:
    """The error of whoever comes to the hub at that address with a token it does not accept (HTTP's 401)."""
    return NotAuthorizedError(
        f"The hub at {hub} refused the token; it may have expired or been revoked. {WHERE_TOKENS_COME_FROM}."
    )


class ForbiddenError(HubError):
    """The token is good, but does not allow this."""


class TooManyRequestsError(HubError):
    """The key asks too often; `retry_s` says after how many seconds it may again."""

    def __init__(self, message: str, retry_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_s = retry_s


class NotFoundError(HubError):
    """No such session, agent, packet or ticket."""


class ConflictError(HubError):
    """The request does not fit the state that things are in now; an agent that refuses is quoted."""
