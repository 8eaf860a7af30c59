"""Where an agent's packets come from: the one interface all sources share.

A *source* hands out Frames of one or more *interfaces*: a live ring, a capture file, another host over ssh, or made-up
traffic. It is read by one thread; only `wake` may be called from others.
"""

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from aishark_panel.wire.frames import Frames

__all__ = ["Adjustable", "Source", "SourceInterface", "SourceKind", "Warns"]

SourceKind = Literal["live", "replay", "synthetic", "ssh"]


@dataclass(frozen=True, slots=True)
class SourceInterface:
    """One interface of a source; `Frames.iface` indexes the source's list of them."""

    name: str
    link_type: int
    """LINKTYPE number (tcpdump.org/linktypes.html)"""
    snaplen: int
    """longest captured frame, bytes"""
    filter: str = ""
    """capture filter the packets passed"""
    description: str = ""


class Source(Protocol):
    """What the agent reads packets from."""

    @property
    def kind(self) -> SourceKind: ...

    @property
    def interfaces(self) -> list[SourceInterface]:
        """Known from the start, except where a file declares more while it is read; it only grows."""

    @property
    def exhausted(self) -> bool:
        """True once nothing more will come: a file's end."""

    def read(self, timeout_s: float) -> Frames | None:
        """Wait up to `timeout_s` for packets; None when nothing arrived. The memory is valid until the next read."""

    def counters(self) -> dict[str, int]:
        """Totals since the start: `matched` packets and, of a live source, `kernel_dropped` ones; how many are
        `in_kernel_ring`; `gaps` in the capture and their `gap_ms`, milliseconds."""

    def wake(self) -> None:
        """Make a blocked read return soon. Safe from any thread, also after close."""

    def close(self) -> None:
        """Give back what the source holds; not while another thread is in `read`."""


@runtime_checkable
class Warns(Protocol):
    """A source that can end otherwise than whole."""

    @property
    def warning(self) -> str | None:
        """Once exhausted: what is missing at its end, in words."""


@runtime_checkable
class Adjustable(Protocol):
    """What a live source of this host can besides: change while it runs, stop without losing what it holds, and
    outlive its interfaces."""

    @property
    def condition(self) -> str:
        """What keeps it from capturing somewhere, in words; '' while all is well."""

    @property
    def interrupted(self) -> bool:
        """Whether packets are missed now for that reason."""

    def adjust(self, capture_filter: str, snaplen: int) -> None:
        """Another capture filter and snaplen from now on; FilterError or ConfigError, and nothing has changed."""

    def halt(self) -> None:
        """Let no more packets in; read until None gives those that were captured before."""
