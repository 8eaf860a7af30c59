"""What pages mark with `<!-- run -->` is run: all blocks of a page, in order, in one shell.

The shell has a hub of its own in AISHARK_HUB and AISHARK_TOKEN, and begins in a folder that holds `capture.pcapng` and
`capture.pcap.gz`, made-up traffic. Any command that fails is a failure. Blocks of Python are run by Python.
"""

import gzip
import os
import subprocess
import sys
from pathlib import Path

import pytest

from aishark_panel.agent.synthetic import make_trace
from aishark_panel.client import start_hub
from aishark_panel.wire.pcapheaders import CaptureInterface
from aishark_panel.wire.pcapwrite import PcapngWriter, PcapWriter
from tests.docs.pages import PAGES, Block, blocks, place

RUN = [block for block in blocks("", "sh", "bash", "python") if block.is_run]


def script(block: Block) -> str:
    """What a shell does with a block."""
    return f"python - <<'END_OF_BLOCK'\n{block.text}END_OF_BLOCK\n" if block.language == "python" else block.text


@pytest.mark.parametrize("page", [page for page in PAGES if any(block.page == page for block in RUN)], ids=place)
def test_marked_blocks_run(page: Path, tmp_path: Path) -> None:
    trace = make_trace(2_000)
    pcapng, pcap = PcapngWriter([CaptureInterface(link_type=1, name="eth0")]), PcapWriter(link_type=1)
    (tmp_path / "capture.pcapng").write_bytes(pcapng.header() + b"".join(map(pcapng.frames, trace)))
    (tmp_path / "capture.pcap.gz").write_bytes(gzip.compress(pcap.header() + b"".join(map(pcap.frames, trace))))
    hub = start_hub("--port", "0", "--ring-mib", "48")
    try:
        done = subprocess.run(
            ["bash", "-xeuo", "pipefail", "-c", "\n".join(script(block) for block in RUN if block.page == page)],
            cwd=tmp_path,
            env={
                **os.environ,
                "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
                "HOME": str(tmp_path),
                "AISHARK_HUB": hub.url,
                "AISHARK_TOKEN": hub.token,
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=100,
        )
    finally:
        hub.close()
    assert done.returncode == 0, done.stdout[-2_000:] + done.stderr[-4_000:]


def test_what_fails_is_a_failure(tmp_path: Path) -> None:
    block = Block(tmp_path, 1, "python", "raise SystemExit(3)\n", is_run=True)
    assert subprocess.run(["bash", "-e", "-c", f"{script(block)}true"], cwd=tmp_path).returncode == 3
