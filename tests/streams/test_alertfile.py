"""The file of a session's alerts: what is in it after anything that can happen to a hub or its disk."""

import os
from pathlib import Path

import pytest

from aishark_panel.alerts.log import AlertLog
from aishark_panel.streams.alertfile import AlertFile
from tests.alerts.blocks import INTERFACES, block, one_rule, scan
from tests.streams.journals import files_at_most


def log_of(ports: int) -> AlertLog:
    """A log with an alert for each port."""
    log = AlertLog([one_rule(by="[dst_port]")])
    more(log, ports)
    return log


def more(log: AlertLog, ports: int) -> None:
    packets = block(scan("10.0.0.1", "10.0.0.2", ports))
    log.take(packets, 0, packets.length, INTERFACES)
    log.finish()


def numbers(path: Path) -> list[int]:
    kept = AlertFile(path).read()
    return [alert["number"] for alert in kept.alerts] if kept else []


def test_what_changed_is_added_and_all_is_read(tmp_path: Path) -> None:
    path, log = tmp_path / "made" / "alerts.jsonl", log_of(3)
    file = AlertFile(path)
    assert file.read() is None
    file.keep(log)
    first = path.read_bytes()
    file.keep(log)
    assert path.read_bytes() == first  # nothing has changed
    log.mark(2, "ann", acknowledged=True)
    log.silences.add(None, None, 60, "", "ann", 0)
    file.keep(log)
    assert path.read_bytes().startswith(first)
    added = path.read_bytes()[len(first) :]
    assert (added.count(b'"number":'), added.count(b"\n")) == (1, 1)
    kept = AlertFile(path).read()
    assert kept is not None
    assert (kept.alerts, kept.silences) == (log.to_keep(0).alerts, log.silences.kept)


@pytest.mark.parametrize("cut", [1, 100, 10_000])
def test_a_line_that_was_cut_counts_as_not_written(tmp_path: Path, cut: int) -> None:
    path, log = tmp_path / "alerts.jsonl", log_of(3)
    file = AlertFile(path)
    file.keep(log)
    whole = path.stat().st_size
    more(log, 20)
    file.keep(log)
    os.truncate(path, max(whole, path.stat().st_size - cut))
    assert numbers(path) == ([1, 2, 3] if cut > 1 else list(range(1, 24)))  # without its end the line is whole
    again = AlertFile(path)
    restored = AlertLog([one_rule(by="[dst_port]")])
    kept = again.read()
    assert kept is not None
    restored.restore(kept)
    again.keep(restored)
    assert numbers(path) == [alert["number"] for alert in kept.alerts]


def test_damage_costs_its_line_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path, log = tmp_path / "alerts.jsonl", log_of(3)
    file = AlertFile(path)
    file.keep(log)
    with path.open("ab") as handle:
        handle.write(
            b'{"changes": "many"}\n\xff\xfe\n{"changes":9,"raised":9,"forgotten":0,"numbers":[1],"alerts":[{}],'
        )
        handle.write(b'"silences":[]}\n' + b"[" * 100_000 + b"\n")
    log.mark(1, "ann", acknowledged=True)
    file.keep(log)
    kept = AlertFile(path).read()
    assert kept is not None
    assert kept.alerts == log.to_keep(0).alerts
    assert "4 lines of the alerts" in caplog.text


def test_a_long_file_is_replaced_by_a_short_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aishark_panel.streams.alertfile._SHORT_BYTES", 10_000)
    path, log = tmp_path / "alerts.jsonl", log_of(3)
    file = AlertFile(path)
    sizes = []
    for _ in range(60):
        log.mark(1, "ann", acknowledged=log.alert(1)["acknowledged"] is None)
        file.keep(log)
        sizes.append(path.stat().st_size)
    assert max(sizes) < 15_000
    assert sizes[-1] < max(sizes)
    kept = AlertFile(path).read()
    assert kept is not None
    assert kept.alerts == log.to_keep(0).alerts
    assert [each.name for each in tmp_path.iterdir()] == ["alerts.jsonl"]


def test_what_the_disk_did_not_take_is_written_later(tmp_path: Path) -> None:
    path, log = tmp_path / "alerts.jsonl", log_of(3)
    file = AlertFile(path)
    file.keep(log)
    more(log, 40)
    with files_at_most(path.stat().st_size + 1_000), pytest.raises(OSError, match="large"):
        file.keep(log)
    assert numbers(path) == [1, 2, 3]
    more(log, 1)
    file.keep(log)
    assert numbers(path) == list(range(1, 45))
