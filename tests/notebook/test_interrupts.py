"""Cells of a real kernel that are interrupted, as by JupyterLab's stop button: the session stays usable."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager, start_new_kernel

from tests.integration.conftest import wait_for

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 60.0


class Kernel:
    """A kernel with a session that is fed; cells are run one after the other."""

    def __init__(self, manager: KernelManager, client: BlockingKernelClient) -> None:
        self._manager, self._client = manager, client

    def run(self, source: str, interrupt_at: str = "") -> tuple[str, str]:
        """What a cell printed, and the name of the error that ended it; interrupted once it printed `interrupt_at`."""
        request = self._client.execute(source)
        said, failed = "", ""
        while True:
            message: dict[str, Any] = self._client.get_iopub_msg(timeout=TIMEOUT_S)
            if message["parent_header"].get("msg_id") != request:
                continue
            kind, content = message["msg_type"], message["content"]
            if kind == "stream":
                said += content["text"]
                if interrupt_at and interrupt_at in said:
                    self._manager.interrupt_kernel()
                    interrupt_at = ""
            elif kind == "error":
                failed = content["ename"]
            elif kind == "status" and content["execution_state"] == "idle":
                return said, failed


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("IPYTHONDIR", str(tmp_path_factory.mktemp("ipython")))
        manager, client = start_new_kernel(kernel_name="python3")
    try:
        kernel = Kernel(manager, client)
        _, failed = kernel.run("import aishark_panel as ais\nsession = ais.capture(synthetic=True, rate=500)")
        assert failed == ""
        yield kernel
    finally:
        client.stop_channels()
        manager.shutdown_kernel()


def rows(kernel: Kernel) -> int:
    said, failed = kernel.run("print(len(session.df()))")
    assert failed == ""
    return int(said)


def assert_goes_on(kernel: Kernel) -> None:
    """The session takes packets in."""
    before = rows(kernel)
    assert before > 0
    assert wait_for(lambda: rows(kernel) > before, "a packet")


COUNTS = "print(len(other.stats()['agents']), [s.name for s in other.hub.sessions()].count('other'))"
SUBSCRIPTIONS = """
import gc
print(sum(isinstance(o, ais.PacketStream) and o.connected for o in gc.get_objects()))
"""


@pytest.mark.parametrize(
    "body", ["pass", "sum(range(10_000_000))"], ids=["while it waits", "while it works on a batch"]
)
def test_a_loop_over_follow(kernel: Kernel, body: str) -> None:
    """The stream that nobody takes from any more ends, so running the cell again and again leaves none behind."""
    loop = f"for k, batch in enumerate(session.follow()):\n    print('batch', k, flush=True)\n    {body}"
    for _ in range(2):
        said, failed = kernel.run(loop, interrupt_at="batch 3")
        assert failed == "KeyboardInterrupt"
        assert said.startswith("batch 0")
    assert kernel.run(SUBSCRIPTIONS) == ("0\n", "")
    assert_goes_on(kernel)


def test_a_frame_that_is_being_fetched(kernel: Kernel) -> None:
    for times in range(1, 4):
        _, failed = kernel.run(
            "for k in range(10_000):\n    df = session.df()\n    print('fetched', k, flush=True)",
            interrupt_at=f"fetched {times}",
        )
        assert failed == "KeyboardInterrupt"
        assert_goes_on(kernel)


def test_a_capture_that_is_being_started(kernel: Kernel) -> None:
    """Interrupted at any moment, running the cell again leaves one capture of one agent."""
    start = "print('starting', flush=True)\nother = ais.capture(synthetic=True, name='other')"
    kernel.run(start, interrupt_at="starting")
    said, failed = kernel.run(start + f"\n{COUNTS}")
    assert (said, failed) == ("starting\n1 1\n", "")
    assert kernel.run("other.close()") == ("", "")
    assert rows(kernel) > 0
