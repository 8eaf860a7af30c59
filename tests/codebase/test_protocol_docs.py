"""docs/protocol.md names every route, method, message and statistic there is."""

from typing import get_args

import pytest

from aishark_panel.streams.queries import METHODS
from aishark_panel.streams.ring import MIN_LIMIT_BYTES
from aishark_panel.streams.routes import ROUTES
from aishark_panel.streams.session import Session
from aishark_panel.wire.messages import AgentMessage, HubMessage
from tests.codebase.sources import ROOT

TEXT = (ROOT / "docs" / "protocol.md").read_text("utf-8")
MESSAGES = [*get_args(AgentMessage), *get_args(HubMessage)]


@pytest.mark.parametrize("pattern", [pattern for pattern, _ in ROUTES])
def test_every_route_is_documented(pattern: str) -> None:
    assert f"`GET {_readable(pattern)}`" in TEXT or f"{_readable(pattern)}`" in TEXT


def _readable(pattern: str) -> str:
    return pattern.replace("([0-9a-f]+)", ":id").replace(r"([\w-]+)", ":ticket")


@pytest.mark.parametrize("method", [*METHODS, "sessions", "start", "stop", "clear", "export_ticket"])
def test_every_method_is_documented(method: str) -> None:
    assert f"`{method}`" in TEXT


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: m.__name__)
def test_every_message_and_its_fields_are_documented(message: type) -> None:
    config = message.__struct_config__  # type: ignore[attr-defined]
    assert f"`{config.tag}`" in TEXT
    missing = [field for field in message.__struct_fields__ if field not in TEXT]  # type: ignore[attr-defined]
    assert not missing


def test_every_statistic_is_documented() -> None:
    stats = Session("a", "b", ring_bytes=MIN_LIMIT_BYTES).stats()
    assert not [name for name in stats if name not in TEXT]
