"""Capture filters: libpcap's compiler, and what keeps an agent from capturing itself.

A *capture filter* is text in pcap-filter(7) syntax; a *program* is what the kernel runs (classic BPF).
"""

import ipaddress
import struct
from collections.abc import Iterable
from typing import Final

import cypcap

from aishark_panel.agent.cooked import COOKED, COOKED_BYTES, Instruction, for_the_kernel
from aishark_panel.agent.tagged import Address, drop_tagged
from aishark_panel.errors import CaptureError, CapturePermissionError, FilterError

__all__ = [
    "ETHERNET",
    "MAX_FILTER_BYTES",
    "PASS_NOTHING",
    "RAW_IP",
    "Endpoint",
    "compile_filter",
    "compile_on",
    "join_filters",
    "own_traffic_filter",
]

ETHERNET: Final = 1
RAW_IP: Final = 101
"""LINKTYPE_ETHERNET and LINKTYPE_RAW (tcpdump.org/linktypes.html)."""

Endpoint = tuple[str, int]
"""One side of a TCP connection: IP address as text, port."""

MAX_FILTER_BYTES: Final = 2048
"""Longest capture filter; with _MAX_UNOPTIMIZED it keeps compilation within a few seconds (4 kB of ports take 100)."""
_MAX_UNOPTIMIZED: Final = 8192
"""Most instructions libpcap's optimizer is given: the time it takes grows with the cube of their number."""
_MAX_INSTRUCTIONS: Final = 4096
"""BPF_MAXINSNS of the kernel."""
_RETURN: Final = 0x06
"""BPF_RET | BPF_K: keep k bytes of the frame."""
PASS_NOTHING: Final = struct.pack("=HBBI", _RETURN, 0, 0, 0)
"""The program that keeps 0 bytes of every frame, which drops it."""
_SHORTER: Final = "use ranges and networks instead of lists, or capture more and filter what is shown"


def own_traffic_filter(expression: str, exclude: Iterable[Endpoint]) -> str:
    """`expression` without the TCP traffic from and to the `exclude` endpoints; compile_filter finds it behind tags.

    The exclusion comes first: `vlan` and `mpls` in the user's part change how everything after them is read.
    FilterError where the parentheses of `expression` do not pair, for then it could undo the exclusion.
    """
    expression = " ".join(expression.split())
    _check_text(expression)
    parts = [f"not (tcp and {_either_direction(endpoint)})" for endpoint in exclude]
    if expression:
        parts.append(f"({expression})" if parts else expression)
    return " and ".join(parts)


def join_filters(*expressions: str) -> str:
    """The capture filter that lets through what each of `expressions` does; empty ones let all through.

    FilterError where one could change the meaning of another: its parentheses do not pair.
    """
    parts = [" ".join(expression.split()) for expression in expressions]
    parts = [part for part in parts if part]
    for part in parts:
        _check_text(part)
    return parts[0] if len(parts) == 1 else " and ".join(f"({part})" for part in parts)


def compile_filter(
    expression: str, *, interface: str, link_type: int, snaplen: int, exclude: Iterable[Endpoint] = ()
) -> bytes:
    """The kernel's program for `expression` on `interface`: an array of struct sock_filter, native byte order.

    The TCP traffic of `exclude` is dropped where it comes with VLAN tags; own_traffic_filter has the rest of it.
    What passes is cut to `snaplen` bytes. Ethernet filters are compiled on an activated handle of the interface:
    only there does libpcap look for VLAN tags where the kernel puts them, beside the frame. Raises FilterError with
    libpcap's reason, CapturePermissionError or CaptureError.
    """
    if link_type == COOKED:  # the kernel cuts what comes without the header
        snaplen = max(snaplen - COOKED_BYTES, 1)
    program = _compile(expression, interface, link_type, snaplen) if expression else [(_RETURN, 0, 0, snaplen)]
    program = _drop_tagged(link_type, exclude) + program
    if link_type == COOKED:
        try:
            program = for_the_kernel(program)
        except ValueError as error:
            raise FilterError(f"capture filter {expression!r} on {interface}: {error}; name an interface") from error
    if len(program) > _MAX_INSTRUCTIONS:
        raise FilterError(f"the capture filter on {interface} is too long for the kernel; {_SHORTER}")
    return _pack(program)


def _compile(expression: str, interface: str, link_type: int, snaplen: int) -> list[Instruction]:
    try:
        handle = _open_handle(interface, link_type, snaplen)
    except cypcap.Error as error:
        kind = CapturePermissionError if error.code == cypcap.ErrorCode.PERM_DENIED else CaptureError
        raise kind(f"cannot open {interface} to compile the capture filter: {error.msg}") from error
    try:
        return list(compile_on(handle, expression, interface))
    finally:
        handle.close()


def compile_on(
    handle: cypcap.Pcap, expression: str, interface: str, exclude: Iterable[Endpoint] = ()
) -> cypcap.BpfProgram:
    """libpcap's program for `expression` on an activated handle, as compile_filter; FilterError with its reason."""
    _check_text(expression)
    try:
        # The netmask only serves `ip broadcast`; finding it out, cypcap 0.6 prints it to standard output.
        program = handle.compile(expression, False, cypcap.NETMASK_UNKNOWN)
        if len(list(program)) <= _MAX_UNOPTIMIZED:
            program = handle.compile(expression, True, cypcap.NETMASK_UNKNOWN)
    except cypcap.Error as error:
        raise FilterError(f"capture filter {expression!r} on {interface}: {error.msg}") from error
    before = _drop_tagged(int(handle.datalink()), exclude)
    return cypcap.BpfProgram(before + list(program)) if before else program


def _open_handle(interface: str, link_type: int, snaplen: int) -> cypcap.Pcap:
    if link_type == RAW_IP:
        return cypcap.open_dead(cypcap.DatalinkType.RAW, snaplen)
    if link_type == COOKED:
        return cypcap.open_dead(COOKED, snaplen)
    handle = cypcap.create(interface)
    handle.set_snaplen(snaplen)
    handle.set_promisc(False)
    handle.set_buffer_size(1 << 20)
    handle.activate()
    return handle


def _pack(program: list[Instruction]) -> bytes:
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)


def _either_direction(endpoint: Endpoint) -> str:
    host, port = _address(endpoint), endpoint[1]
    return f"((src host {host} and src port {port}) or (dst host {host} and dst port {port}))"


def _drop_tagged(link_type: int, exclude: Iterable[Endpoint]) -> list[Instruction]:
    return drop_tagged(link_type, [(_address(endpoint), endpoint[1]) for endpoint in exclude])


def _address(endpoint: Endpoint) -> Address:
    text = endpoint[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        raise FilterError(f"{text!r} is no IP address: own traffic is excluded by address and port") from None
    return getattr(address, "ipv4_mapped", None) or address


def _check_text(expression: str) -> None:
    if not expression.isprintable() or not expression.isascii():
        raise FilterError(f"capture filter {expression!r} has characters that are not printable ASCII")
    if len(expression) > MAX_FILTER_BYTES:
        raise FilterError(f"the capture filter has {len(expression):,} characters of {MAX_FILTER_BYTES:,}; {_SHORTER}")
    depth = 0
    for character in expression:
        depth += (character == "(") - (character == ")")
        if depth < 0:
            break
    if depth:
        raise FilterError(f"capture filter {expression!r} has parentheses that do not pair")
