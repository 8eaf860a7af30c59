"""The layer tree of one packet by tshark, Wireshark's command, where the dashboard's host has it.

It knows thousands of protocols more than scapy. The packet goes to a process of its own, as a capture file of one
packet on its standard input, and comes back as PDML, which names the place of each field. What strangers sent is read
by a program in C, so it gets little: no names are resolved, nothing of the user's configuration is read, and its time,
memory and output are bounded. What it would say by the packets before is left away; it sees this one alone.
"""

import asyncio
import contextlib
import os
import re
import shutil
import sys
import tempfile
from collections import OrderedDict
from typing import Any, Final
from xml.etree import ElementTree

from aishark_panel.views.nodes import MAX_NODES, Node, cut_text
from aishark_panel.wire.frames import Frames
from aishark_panel.wire.pcapwrite import PcapWriter

if sys.platform == "linux":
    import resource

__all__ = ["Tshark"]

_OPTIONS: Final = (
    *("-n", "-r", "-", "-T", "pdml"),
    *("-o", "tcp.relative_sequence_numbers:FALSE", "-o", "tcp.analyze_sequence_numbers:FALSE"),
    *("-o", "tcp.desegment_tcp_streams:FALSE", "-o", "ip.defragment:FALSE", "-o", "ipv6.defragment:FALSE"),
)
_LIMIT_S: Final = 10.0
_MAX_OUTPUT_BYTES: Final = 4 * 2**20
_MAX_MEMORY_BYTES: Final = 2 * 2**30
_MAX_PACKET_BYTES: Final = 65_536
_AT_ONCE: Final = 2
_KEPT: Final = 64
"""Trees kept, those asked for last."""
_MAX_DEPTH: Final = 12

_LEFT_OUT: Final = ("geninfo", "frame")
"""What tshark says of the capture file rather than of the packet."""
_BITS: Final = re.compile(r"([01.]{1,8}(?: [01.]{1,4})*) = (.*)", re.DOTALL)


class Tshark:
    """One command `tool`, for all pages of this process."""

    def __init__(self, tool: str) -> None:
        self.tool = tool
        self._places = asyncio.Semaphore(_AT_ONCE)
        self._known: OrderedDict[tuple[bytes, int, int], list[Node]] = OrderedDict()

    @classmethod
    def installed(cls) -> "Tshark | None":
        """The one that is found on this host, if there is one."""
        found = shutil.which("tshark")
        return cls(found) if found else None

    async def layers(self, frame: bytes, link_type: int, orig_len: int) -> list[Node]:
        """Layers of a frame (see views/nodes.py); none where tshark fails, takes too long or says too much."""
        key = (frame, link_type, orig_len)
        if key not in self._known:
            if len(frame) > _MAX_PACKET_BYTES:
                return []
            writer = PcapWriter(link_type)
            capture = writer.header() + writer.frames(Frames.from_list([frame], [0], [max(orig_len, len(frame))]))
            async with self._places:
                pdml = await self._run(capture)
            self._known[key] = await asyncio.to_thread(_tree, pdml, frame)
            while len(self._known) > _KEPT:
                self._known.popitem(last=False)
        self._known.move_to_end(key)
        return self._known[key]

    async def _run(self, capture: bytes) -> bytes:
        """What tshark writes; nothing where it does not end well."""
        # Where it looks for a configuration there is none.
        with tempfile.TemporaryDirectory() as empty, contextlib.suppress(OSError, TimeoutError):
            process = await asyncio.create_subprocess_exec(
                self.tool,
                *_OPTIONS,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8", **_nowhere(empty)},
                cwd=empty,
            )
            try:
                if sys.platform == "linux":
                    resource.prlimit(process.pid, resource.RLIMIT_AS, (_MAX_MEMORY_BYTES, _MAX_MEMORY_BYTES))
                async with asyncio.timeout(_LIMIT_S):
                    _, written = await asyncio.gather(_feed(process, capture), _read(process))
                    return written if await process.wait() == 0 else b""
            finally:
                if process.returncode is None:
                    with contextlib.suppress(ProcessLookupError):
                        process.kill()
                    await process.communicate()  # `wait` alone would wait for ever for a pipe that nobody reads
        return b""


def _nowhere(folder: str) -> dict[str, str]:
    return dict.fromkeys(("HOME", "XDG_CONFIG_HOME"), folder)


async def _feed(process: asyncio.subprocess.Process, capture: bytes) -> None:
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        process.stdin.write(capture)
        await process.stdin.drain()
    process.stdin.close()


async def _read(process: asyncio.subprocess.Process) -> bytes:
    assert process.stdout is not None
    found = bytearray()
    while piece := await process.stdout.read(2**16):
        found += piece
        if len(found) > _MAX_OUTPUT_BYTES:
            raise OSError("more than is read")
    return bytes(found)


def _tree(pdml: bytes, frame: bytes) -> list[Node]:
    try:
        packet = ElementTree.fromstring(pdml).find("packet")
    except ElementTree.ParseError:
        return []
    room = [MAX_NODES]
    protos = [] if packet is None else [proto for proto in packet if proto.get("name") not in _LEFT_OUT]
    return [_layer(proto, frame, room) for proto in protos]


def _layer(proto: ElementTree.Element, frame: bytes, room: list[int]) -> Node:
    name, _, summary = str(proto.get("showname") or proto.get("show") or proto.get("name")).partition(", ")
    if proto.get("name") == "fake-field-wrapper":
        name, summary = "Data", ""
    fields = [_field(each, frame, room) for each in _shown(proto, room)]
    node: Node = {"name": cut_text(name), "summary": cut_text(summary), "fields": fields}
    if all(_is_there(each, frame) for each in proto.iter("field")):
        start, stop = _range(proto)
        if not stop and fields:  # the wrapper has no place of its own
            known = [each for each in fields if "start" in each]
            start = min((each["start"] for each in known), default=0)
            stop = max((each["start"] + each["length"] for each in known), default=0)
        if start < stop <= len(frame):
            return {**node, "start": start, "length": stop - start}
    _displace(fields)  # it was found in bytes that tshark made: decrypted, unpacked, put together
    return node


def _field(element: ElementTree.Element, frame: bytes, room: list[int], depth: int = 0) -> Node:
    text = element.get("showname") or element.get("show") or ""
    node: Node = {"key": element.get("name", ""), "is": element.get("show")}
    if found := _BITS.fullmatch(text):
        node["bits"], text = found[1], found[2]
    name, colon, value = text.partition(": ")
    node["name"], node["value"] = cut_text(name), cut_text(value if colon else "")
    start, stop = _range(element)
    if start < stop <= len(frame):
        node["start"], node["length"] = start, stop - start
    if depth < _MAX_DEPTH and (inner := [_field(each, frame, room, depth + 1) for each in _shown(element, room)]):
        node["fields"] = inner
    return node


def _shown(parent: ElementTree.Element, room: list[int]) -> list[ElementTree.Element]:
    """The fields to show, but not what needs other packets to be true, which tshark writes in brackets."""
    found = []
    for each in parent:
        generated = (each.get("showname") or each.get("show") or "").startswith("[") and each.get("size") == "0"
        if each.get("hide") == "yes" or generated:
            continue
        if room[0] <= 0:
            break
        room[0] -= 1
        found.append(each)
    return found


def _range(element: ElementTree.Element) -> tuple[int, int]:
    try:
        start, size = int(element.get("pos", "")), int(element.get("size", ""))
    except ValueError:
        return 0, 0
    return start, start + size


def _is_there(element: ElementTree.Element, frame: bytes) -> bool:
    """Whether the frame has the field's bytes at its place."""
    start, stop = _range(element)
    raw = element.get("unmaskedvalue") or element.get("value") or ""
    return len(raw) != 2 * (stop - start) or frame[start:stop].hex() == raw.lower()


def _displace(nodes: list[Any]) -> None:
    for node in nodes:
        for part in ("start", "length", "bits"):
            node.pop(part, None)
        _displace(node.get("fields", []))
