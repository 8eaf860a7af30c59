"""What pages mark with `<!-- run -->` is run: all blocks of a page, in order, in one shell, from an empty folder.

Any command that fails is a failure. Blocks of Python are run by Python. Pages name the hub's usual port; a free one is
put in its place.
"""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tornado.testing import bind_unused_port

from aishark_panel.hub_commands import DEFAULT_HUB_PORT
from tests.docs.pages import PAGES, Block, blocks, place

RUN = [block for block in blocks("", "sh", "bash", "python") if block.is_run]


def script(block: Block) -> str:
    """What a shell does with a block."""
    return f"python - <<'END_OF_BLOCK'\n{block.text}END_OF_BLOCK\n" if block.language == "python" else block.text


def run(text: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    """Run a script, and end what it leaves behind."""
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(folder),
    }
    with (folder / "said").open("w+") as said:
        shell = subprocess.Popen(
            ["bash", "-xeuo", "pipefail", "-c", text],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
        try:
            status = shell.wait(100)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)
            shell.wait()
        said.seek(0)
        return subprocess.CompletedProcess(text, status, said.read())


@pytest.mark.parametrize("page", [page for page in PAGES if any(block.page == page for block in RUN)], ids=place)
def test_marked_blocks_run(page: Path, tmp_path: Path) -> None:
    socket, port = bind_unused_port()
    socket.close()
    text = "\n".join(script(block) for block in RUN if block.page == page)
    done = run(text.replace(str(DEFAULT_HUB_PORT), str(port)), tmp_path)
    logs = [f"{log}:\n{log.read_text()[-2_000:]}" for log in sorted(tmp_path.rglob("*.log"))]
    assert done.returncode == 0, "\n".join([done.stdout[-4_000:], *logs])


def test_what_fails_is_a_failure(tmp_path: Path) -> None:
    block = Block(tmp_path, 1, "python", "raise SystemExit(3)\n", is_run=True)
    assert run(f"{script(block)}true", tmp_path).returncode == 3
