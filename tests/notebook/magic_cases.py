"""%%capture_packets on the loopback interface, in a real IPython. test_magic.py runs this in a namespace of its own."""

import http.server
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

from aishark_panel.notebook.table import Table

UDP = "import socket\nwith socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as to:\n  "


@pytest.fixture(scope="module")
def shell() -> InteractiveShell:
    """IPython, on a host whose loopback interface is up."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    shell = InteractiveShell.instance(history_manager=None, colors="nocolor")
    shell.run_line_magic("load_ext", "aishark_panel")
    return shell


@pytest.fixture
def web() -> Iterator[int]:
    """The port of a web server."""
    handler = partial(http.server.SimpleHTTPRequestHandler, directory="/nonexistent")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def run(shell: InteractiveShell, cell: str) -> tuple[Any, str]:
    """The result of a cell, and what it wrote."""
    with capture_output() as said:
        result = shell.run_cell(cell)  # type: ignore[no-untyped-call]
    shown = "".join(output.data["text/plain"] for output in said.outputs)
    return result, str(said.stdout) + str(said.stderr) + shown


def test_a_cell_captures_its_own_request(shell: InteractiveShell, web: int) -> None:
    address = f"http://127.0.0.1:{web}/hello?x=1"
    request = f"import urllib.request\ntry:\n    urllib.request.urlopen('{address}')\nexcept OSError:\n    pass"
    result, said = run(shell, f"%%capture_packets -i lo -f 'tcp port {web}' --into pkts\n{request}")
    assert result.success, said
    table = shell.user_ns["pkts"]
    assert isinstance(table, Table)
    assert table.df["http_path"].dropna().tolist() == ["/hello?x=1"]
    assert table.df["http_status"].dropna().tolist() == [404]
    assert set(table.df["src_port"]) | set(table.df["dst_port"]) > {web}
    assert table.title == f"lo: tcp port {web}"
    assert table.warning == ""
    assert f"lo: tcp port {web}" in said
    assert "<svg" in table._repr_html_()
    assert table.sql("select count(*) as n from packets where http_path is not null")["n"].tolist() == [1]


def test_everything_from_the_first_line_to_the_last_is_there(shell: InteractiveShell) -> None:
    """Sent as fast as Python can, in the cell's very first and very last moments, three times."""
    burst = UDP + "for k in range(2_000): to.sendto(b'%d' % k, ('127.0.0.1', 9))"
    for _ in range(3):
        result, said = run(shell, f"%%capture_packets -i lo -f 'udp dst port 9'\n{burst}")
        assert result.success, said
        assert len(shell.user_ns["packets"]) == 2_000


def test_what_the_body_fails_with_is_said_once_and_its_packets_are_kept(shell: InteractiveShell) -> None:
    body = UDP + "to.sendto(b'x', ('127.0.0.1', 9))\nprint('before')\n1 / 0"
    result, said = run(shell, f"%%capture_packets -i lo -f 'udp dst port 9' --into broken\n{body}")
    assert not result.success
    assert said.count("division by zero") == 1
    assert "before" in said
    assert len(shell.user_ns["broken"]) == 1


def test_what_is_asked_wrongly_is_said_in_a_sentence(shell: InteractiveShell) -> None:
    for options, words in [
        ("-i nosuch0", "nosuch0"),
        ("-i lo -f 'port 99999'", "99999"),
        ("-i lo --into 1x", "is no name of a variable"),
        ("-f udp", "-i"),
    ]:
        result, said = run(shell, f"%%capture_packets {options}\nprint('ran')")
        assert not result.success
        assert words in said
        assert "Traceback" not in said
        assert "ran" not in said.split()


def test_an_interrupted_cell_keeps_what_it_captured(shell: InteractiveShell) -> None:
    body = UDP + "to.sendto(b'x', ('127.0.0.1', 9))\nimport signal\nsignal.raise_signal(signal.SIGINT)\nprint('after')"
    result, said = run(shell, f"%%capture_packets -i lo -f 'udp dst port 9' --into early\n{body}")
    assert not result.success
    assert said.count("Traceback (most recent call last)") == said.count("KeyboardInterrupt:") == 1
    assert "after" not in said.split()
    assert len(shell.user_ns["early"]) == 1
    result, said = run(shell, f"%%capture_packets -i lo -f 'udp dst port 9' --into early\n{UDP}pass")
    assert result.success, said
    assert len(shell.user_ns["early"]) == 0


@pytest.mark.parametrize(
    ("step", "words"), [("capture", "the cell did not run"), ("captured", "'never' was not set")], ids=str
)
def test_an_interrupt_before_or_after_the_cell_is_said(
    shell: InteractiveShell, monkeypatch: pytest.MonkeyPatch, step: str, words: str
) -> None:
    def interrupted(*_args: object, **_options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(f"aishark_panel.notebook.magic.{step}", interrupted)
    result, said = run(shell, "%%capture_packets -i lo -f 'udp dst port 9' --into never\npass")
    assert not result.success
    assert words in said
    assert "Traceback" not in said
    assert "never" not in shell.user_ns
    monkeypatch.undo()
    result, said = run(shell, "%%capture_packets -i lo -f 'udp dst port 9'\npass")
    assert result.success, said
