"""The one-line summary of a packet, in Wireshark's words where its columns allow; made for rows that are shown."""

from aishark_panel.wire.packets import Packets

__all__ = ["info_text"]


def info_text(packets: Packets, row: int) -> str:
    return ""
