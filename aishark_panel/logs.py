"""Log lines: text for people, or JSON for programs, one object a line. Secrets are in neither.

A JSON line has `time` (RFC 3339, UTC), `level`, `logger`, `message`, `fields` (what the caller gave as `extra`) and,
with an exception, `exception` (its traceback).
"""

import json
import logging
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final, Literal

__all__ = ["LogFormat", "configure", "say"]

LogFormat = Literal["text", "json"]

_MASK: Final = "********"
_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
"""what every record has; anything else in it came by `extra`"""


class _Lines(logging.Formatter):
    """Text: the level and the message, without what must not be shown."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        super().__init__("%(levelname)s %(message)s")
        self._secrets = [secret for secret in secrets if secret]

    def format(self, record: logging.LogRecord) -> str:
        line = self.line(record)
        for secret in self._secrets:
            line = line.replace(secret, _MASK)
        return line

    def line(self, record: logging.LogRecord) -> str:
        return super().format(record)


class _JsonLines(_Lines):
    def line(self, record: logging.LogRecord) -> str:
        told: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "fields": {name: value for name, value in vars(record).items() if name not in _STANDARD},
        }
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        return json.dumps(told, default=str)


def configure(level: str, form: LogFormat = "text", secrets: Iterable[str] = ()) -> None:
    """Log what is of that level or above to standard error, in that form; again, to change it."""
    handler = logging.StreamHandler()
    handler.setFormatter(_JsonLines(secrets) if form == "json" else _Lines(secrets))
    logging.basicConfig(level=level, handlers=[handler], force=True)


def say(text: str, level: int = logging.INFO) -> None:
    """Tell the person at the terminal, whatever the level of the log; where that is JSON, as a line of it."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler.formatter, _JsonLines):
            handler.handle(
                logging.makeLogRecord(
                    {"name": "aishark", "levelno": level, "msg": text, "levelname": logging.getLevelName(level)}
                )
            )
            return
    print(text, file=sys.stderr)
