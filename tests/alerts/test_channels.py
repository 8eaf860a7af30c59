"""The file of channels: what it may say, and how mistakes are told."""

import subprocess
import sys
from pathlib import Path

import pytest

from aishark_panel.alerts.channels import CHANNEL_KEYS, load_channels
from aishark_panel.errors import ConfigError

ROOT = Path(__file__).parents[2]

FILE = """
channels:
  - name: ops
    url: mailtos://hub:${MAIL_PASSWORD}@mail.example.com?to=ops@example.com
    severity: warning
    group_wait: 30s
    group_interval: 5min
    max_per_hour: 20
    resolved: false
    title: "{rule}"
    body: "{alerts}"
  - {name: chat, url: "slack://${SLACK}"}
"""


def write(folder: Path, text: str) -> str:
    path = folder / "channels.yaml"
    path.write_text(text)
    path.chmod(0o600)
    return str(path)


def test_a_file_says_everything(tmp_path: Path) -> None:
    ops, chat = load_channels(write(tmp_path, FILE), {"MAIL_PASSWORD": "hunter2", "SLACK": "a/b/c"})
    assert (ops.name, ops.severities) == ("ops", ("warning", "critical"))
    assert (ops.group_wait_s, ops.group_interval_s) == (30, 300)
    assert (ops.max_per_hour, ops.resolved, ops.title, ops.body) == (20, False, "{rule}", "{alerts}")
    assert ops.url == "mailtos://hub:hunter2@mail.example.com?to=ops@example.com"
    assert (chat.severities, chat.group_wait_s, chat.resolved) == (("info", "warning", "critical"), 10, True)
    assert "hunter2" not in repr(ops)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("channels: []", "0 channels; from 1 to 50 are expected"),
        ("chanels: []", "line 1: no key 'chanels'"),
        ("channels: {a: b}", "line 1: channels must be a list"),
        ("channels:\n- name: a", "line 2: a channel needs url"),
        ("channels:\n- {name: a, url: 'json://h'}\n- {name: a, url: 'json://h'}", "'a' is there twice"),
        ("channels:\n- {name: webhook, url: 'json://h'}", "is what --webhook is called"),
        ("channels:\n- {name: a, url: 'json://h', severty: info}", "no key 'severty'; did you mean severity"),
        ("channels:\n- {name: a, url: 'json://h', severity: loud}", "severity: one of info, warning, critical"),
        ("channels:\n- {name: a, url: 'json://h', group_wait: 10}", "group_wait: a duration of at most 24h"),
        ("channels:\n- {name: a, url: 'json://h', max_per_hour: 0}", "max_per_hour: a number from 1"),
        ("channels:\n- {name: a, url: 'json://h', resolved: maybe}", "resolved: true or false"),
        ("channels:\n- {name: a, url: 'json://${MISSING}'}", "line 2: the environment has no variable MISSING"),
        ("channels: [", "not YAML"),
    ],
)
def test_mistakes_are_told_with_their_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_channels(write(tmp_path, text), {})
    assert message in str(caught.value)
    assert "channels.yaml" in str(caught.value)


def test_a_secret_in_a_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "channels: [{name: a, url: 'json://user:hunter2@h'}]")
    Path(path).chmod(0o644)
    with pytest.raises(ConfigError, match="others may read") as caught:
        load_channels(path, {})
    assert "hunter2" not in str(caught.value)


def test_the_page_on_rules_names_every_key_of_a_channel() -> None:
    page = (ROOT / "docs" / "rules.md").read_text("utf-8")
    assert [key for key in CHANNEL_KEYS if f"| `{key}` |" not in page] == []


def test_the_command_tells_a_channel_and_says_how_it_went(tmp_path: Path) -> None:
    path = write(
        tmp_path, "channels: [{name: nobody, url: 'json://127.0.0.1:1/'}, {name: chat, url: 'json://127.0.0.1:1'}]"
    )
    command = [sys.executable, "-m", "aishark_panel", "rules", "notify-test", "--notify", path]
    failed = subprocess.run([*command, "nobody"], capture_output=True, text=True, timeout=60, check=False)
    assert (failed.returncode, failed.stdout.startswith("nobody (JSON): ")) == (1, True)
    unknown = subprocess.run([*command, "nobdy"], capture_output=True, text=True, timeout=60, check=False)
    assert unknown.returncode == 2
    assert "no channel 'nobdy'; did you mean nobody" in unknown.stderr
