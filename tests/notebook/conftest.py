"""A capture file, and a capture of this process over a real embedded hub with a real agent."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import aishark_panel as ais
from aishark_panel.notebook.capture import Capture
from aishark_panel.wire.pcapwrite import PcapWriter
from tests.integration.conftest import wait_for
from tests.traffic import frames

PACKETS = 10_000


def is_running(pid: int) -> bool:
    """Whether it runs; a zombie that nobody has waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture(scope="session")
def capture_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pcap file of 10,000 numbered UDP packets, 1 ms apart."""
    path = tmp_path_factory.mktemp("captures") / "numbered.pcap"
    writer = PcapWriter(link_type=1)
    path.write_bytes(writer.header() + writer.frames(frames(PACKETS)))
    return path


@pytest.fixture(scope="module")
def session(capture_file: Path) -> Iterator[Capture]:
    """That file, played and over."""
    with ais.capture(file=capture_file) as played:
        wait_for(lambda: played.stats()["state"] == "ended", "the end of the file")
        yield played
