"""docs/protocol.md names every route, method, message and statistic there is."""

from pathlib import Path
from typing import get_args

import msgspec
import pytest

from aishark_panel.streams.history import SESSION
from aishark_panel.streams.queries import METHODS
from aishark_panel.streams.recording import Recording, RecordingOptions
from aishark_panel.streams.ring import MIN_LIMIT_BYTES
from aishark_panel.streams.routes import ROUTES
from aishark_panel.streams.session import Session
from aishark_panel.streams.stats import stats
from aishark_panel.streams.uploads import Upload, UploadRequest
from aishark_panel.wire.messages import AgentMessage, HubMessage
from tests.codebase.sources import ROOT

TEXT = (ROOT / "docs" / "protocol.md").read_text("utf-8")
METHODS_OF_THE_HUB = [
    "sessions", "start", "stop", "clear", "delete", "export_ticket", "export_status", "export_cancel", "recordings",
    "record_start", "record_stop", "recording_ticket", "evidence_ticket",
]  # fmt: skip
MESSAGES = [*get_args(AgentMessage), *get_args(HubMessage)]


@pytest.mark.parametrize("pattern", [pattern for pattern, _ in ROUTES])
def test_every_route_is_documented(pattern: str) -> None:
    assert f"`GET {_readable(pattern)}`" in TEXT or f"{_readable(pattern)}`" in TEXT


def _readable(pattern: str) -> str:
    names = {
        SESSION: ":id",
        "([0-9a-f]+)": ":id",
        r"([\w-]+)": ":ticket",
        "([^/]+)": ":name",
        "([1-9][0-9]{0,15})": ":number",
    }
    names["([0-9]{1,20})"] = ":conversation"
    for group, name in names.items():
        pattern = pattern.replace(group, name)
    return pattern.replace("\\", "")


@pytest.mark.parametrize("method", [*METHODS, *METHODS_OF_THE_HUB])
def test_every_method_is_documented(method: str) -> None:
    assert f"`{method}`" in TEXT


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: m.__name__)
def test_every_message_and_its_fields_are_documented(message: type) -> None:
    config = message.__struct_config__  # type: ignore[attr-defined]
    assert f"`{config.tag}`" in TEXT
    missing = [field for field in message.__struct_fields__ if field not in TEXT]  # type: ignore[attr-defined]
    assert not missing


def test_every_statistic_is_documented() -> None:
    told = stats(Session("a", "b", ring_bytes=MIN_LIMIT_BYTES))
    assert not [name for name in told if name not in TEXT]


@pytest.mark.parametrize("request_body", [RecordingOptions, UploadRequest], ids=lambda r: r.__name__)
def test_every_option_of_a_request_is_documented(request_body: type[msgspec.Struct]) -> None:
    assert not [name for name in request_body.__struct_fields__ if name not in TEXT]


def test_every_word_on_a_recording_and_an_upload_is_documented(tmp_path: Path) -> None:
    session = Session("a", "b", ring_bytes=MIN_LIMIT_BYTES)
    recording = Recording("c", session, RecordingOptions(), tmp_path, now_ns=0)
    upload = Upload(
        "d", UploadRequest(name="e", size=1), owner="", target=NotImplemented, part=NotImplemented, touched_s=0.0
    )
    assert not [name for name in (*recording.status(), *upload.status()) if name not in TEXT]
