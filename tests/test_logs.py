"""Log lines for people and for programs, without secrets."""

import json
import logging
from collections.abc import Iterator

import pytest

from aishark_panel import logs

log = logging.getLogger("aishark_panel.test")


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def failing() -> None:
    try:
        raise RuntimeError("broken s3cret")
    except RuntimeError:
        log.exception("it failed with %s", "s3cret", extra={"session": "live", "count": 3})


def test_a_json_line_is_one_object_with_the_fields(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("INFO", "json")
    log.debug("left out")
    log.info("two\nlines %d", 7, extra={"session": "live"})
    failing()
    first, second = map(json.loads, capsys.readouterr().err.splitlines())
    assert first.pop("time").endswith("+00:00")
    assert first == {
        "level": "info",
        "logger": "aishark_panel.test",
        "message": "two\nlines 7",
        "fields": {"session": "live"},
    }
    assert second["fields"] == {"session": "live", "count": 3}
    assert second["exception"].endswith("RuntimeError: broken s3cret")


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_line_holds_a_secret(form: logs.LogFormat, capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("INFO", form, secrets=["s3cret", ""])
    failing()
    logs.say("the token is s3cret") if form == "json" else log.warning("the token is s3cret")
    said = capsys.readouterr().err
    assert "s3cret" not in said
    assert said.count("********") >= 3


def test_people_are_told_in_the_form_of_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("ERROR", "text")
    logs.say("stopped: SIGTERM")
    assert capsys.readouterr().err == "stopped: SIGTERM\n"
    logs.configure("ERROR", "json")
    logs.say("stopped: SIGTERM", logging.WARNING)
    line = json.loads(capsys.readouterr().err)
    assert (line["level"], line["message"], line["logger"]) == ("warning", "stopped: SIGTERM", "aishark")
