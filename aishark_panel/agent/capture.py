"""Live capture on Linux: the kernel's memory-mapped packet ring (TPACKET_V3) as a source of Frames.

A capture outlives what happens to its interface as far as the kernel's socket does: down and up again, another name.

The *ring* is memory shared with the kernel, cut into *blocks*. The kernel fills a block with packets and hands it
over when it is full or RETIRE_MS old; a compiled kernel copies whole blocks out and hands them back. No Python runs
per packet. Layout and flags are those of linux/if_packet.h and Documentation/networking/packet_mmap.rst.
"""

import contextlib
import ctypes
import errno
import fcntl
import mmap
import os
import select
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

import cypcap
import numpy as np

from aishark_panel.agent.bpf import ETHERNET, PASS_NOTHING, RAW_IP, Endpoint, compile_filter, own_traffic_filter
from aishark_panel.agent.cooked import ANY, COOKED, SeenInterfaces
from aishark_panel.agent.source import SourceInterface, SourceKind
from aishark_panel.agent.tpacket import BLOCK_BYTES, count_waiting, take_blocks
from aishark_panel.errors import CaptureError, CapturePermissionError, ConfigError, FilterError
from aishark_panel.wire.frames import MAX_FRAME_BYTES, Frames

__all__ = ["DEFAULT_BUFFER_BYTES", "MAX_BUFFER_BYTES", "LiveCapture", "LocalInterface", "list_interfaces"]

DEFAULT_BUFFER_BYTES: Final = 64 << 20
"""Ring of one capture: how long the agent may be held up before the kernel drops (0.1 s at 1 M packets of 600 B)."""
MAX_BUFFER_BYTES: Final = 4 << 30
RETIRE_MS: Final = 20
"""Age at which the kernel hands over a block that is not full: at low rates each costs a wake-up of some 0.2 ms CPU."""
MIN_SNAPLEN: Final = 16
"""An Ethernet header with a VLAN tag, less the type."""
_MIN_COOKED_SNAPLEN: Final = 24
"""A Linux cooked header with a VLAN tag."""
_LOOK_S: Final = 0.5
"""How often it is looked whether the interface is up and has its name."""
_BATCH_ROWS: Final = 8192
_BATCH_BYTES: Final = 1 << 20

_SOL_PACKET: Final = 263
_PACKET_ADD_MEMBERSHIP, _PACKET_RX_RING, _PACKET_STATISTICS, _PACKET_VERSION = 1, 5, 6, 10
_PACKET_IGNORE_OUTGOING: Final = 23
_TPACKET_V3: Final = 2
_PACKET_MR_PROMISC: Final = 1
_SO_ATTACH_FILTER, _SO_TIMESTAMPNS = 26, 35
_ETH_P_ALL: Final = 3
_SIOCGIFFLAGS, _SIOCGIFHWADDR = 0x8913, 0x8927
_IFF_UP: Final = 1

_ARPHRD_ETHER, _ARPHRD_LOOPBACK = 1, 772
_LINK_TYPES: Final = {
    _ARPHRD_ETHER: ETHERNET,
    _ARPHRD_LOOPBACK: ETHERNET,
    0xFFFE: RAW_IP,  # ARPHRD_NONE: tun, WireGuard
    519: RAW_IP,  # ARPHRD_RAWIP: mobile modems
    512: RAW_IP,  # ARPHRD_PPP
    768: RAW_IP,  # ARPHRD_TUNNEL
    769: RAW_IP,  # ARPHRD_TUNNEL6
    776: RAW_IP,  # ARPHRD_SIT
    778: RAW_IP,  # ARPHRD_IPGRE
    823: RAW_IP,  # ARPHRD_IP6GRE
}
"""Link type by hardware type (linux/if_arp.h). RAW_IP ones are read from the network layer on (SOCK_DGRAM), so
whatever header a tunnel's driver puts before it does not matter."""

_PERMISSION: Final = (
    "capturing on {interface} needs the capability CAP_NET_RAW, which this process does not have. Run the agent as a "
    "systemd service with AmbientCapabilities=CAP_NET_RAW, or by hand: sudo setpriv --reuid=$USER --regid=$(id -g) "
    "--init-groups --inh-caps=+net_raw --ambient-caps=+net_raw aishark agent ... (never setcap a shared Python: "
    "every script would get the right)"
)


@dataclass(frozen=True, slots=True)
class LocalInterface:
    """A network interface of this host."""

    name: str
    up: bool
    link_type: int | None
    """LINKTYPE number; None where LiveCapture cannot read it"""
    addresses: tuple[str, ...] = ()
    """IP addresses as text"""


def list_interfaces() -> list[LocalInterface]:
    """The interfaces of this host (of this network namespace), in the kernel's order. Needs no privilege."""
    _require_linux()
    addresses = {device.name: _ip_addresses(device) for device in cypcap.findalldevs()}
    found = []
    for _, name in socket.if_nameindex():
        with contextlib.suppress(OSError):  # it may go while we look
            flags, hardware = _interface_state(name)
            link_type = _LINK_TYPES.get(hardware)
            found.append(LocalInterface(name, bool(flags & _IFF_UP), link_type, addresses.get(name, ())))
    return found


class LiveCapture:
    """Source of the packets of one interface, or with `any` of all, with the kernel's times in ns.

    `filter` is a capture filter; the TCP endpoints in `exclude` are never captured. Frames are cut to `snaplen`
    bytes and, whatever it says, to what fits a ring block (a little under 256 KiB). VLAN tags which the kernel moved
    beside the frame are put back. `index` is the `iface` of the frames: the place of this interface in a list of
    several. Raises CapturePermissionError, FilterError, ConfigError or CaptureError.

    Frames of `any` have a Linux cooked header (cooked.py) and the `iface` of the interface they passed; `interfaces`
    grows by those that send or receive something. They are not promiscuous.
    """

    kind: SourceKind = "live"
    exhausted = False
    poll_s = _LOOK_S

    def __init__(
        self,
        interface: str,
        filter: str = "",
        snaplen: int = MAX_FRAME_BYTES,
        buffer_bytes: int = DEFAULT_BUFFER_BYTES,
        promiscuous: bool = True,
        exclude: Iterable[Endpoint] = (),
        index: int = 0,
    ) -> None:
        _require_linux()
        _check_snaplen(interface, snaplen)
        if not 2 * BLOCK_BYTES <= buffer_bytes <= MAX_BUFFER_BYTES:
            raise ConfigError(
                f"the capture buffer is {buffer_bytes} bytes; it must be {2 * BLOCK_BYTES} to {MAX_BUFFER_BYTES}"
            )
        self._seen = SeenInterfaces() if interface == ANY else None
        hardware = None if self._seen else _check_interface(interface)
        self._link_type = link_type = COOKED if hardware is None else _LINK_TYPES[hardware]
        self._ifindex = 0 if hardware is None else socket.if_nametoindex(interface)
        self.interfaces = [SourceInterface(name=interface, link_type=link_type, snaplen=snaplen, filter=filter)]
        self._interface = interface
        self._snaplen = snaplen
        self._exclude = tuple(exclude)
        self.condition = ""
        self.interrupted = False
        """whether packets are missed now, because the interface is down"""
        self._failure = ""
        self._looked_s = time.monotonic()
        self._block = 0
        self._matched = self._kernel_dropped = self._in_kernel_ring = 0
        self._counting = threading.Lock()
        self._ts = np.empty(_BATCH_ROWS, np.int64)
        self._orig_len = np.empty(_BATCH_ROWS, np.uint32)
        self._iface = np.full(_BATCH_ROWS, index, np.uint16)
        self._ifindices = np.zeros(_BATCH_ROWS, np.int32)
        self._offsets = np.zeros(_BATCH_ROWS + 1, np.int32)
        self._data = np.empty(_BATCH_BYTES, np.uint8)
        with contextlib.ExitStack() as undo:
            self._socket = undo.enter_context(_packet_socket(interface, link_type))
            program = self._compile(filter, snaplen)
            self._memory = undo.enter_context(_map_ring(self._socket, buffer_bytes // BLOCK_BYTES))
            self._ring = np.frombuffer(self._memory, np.uint32)
            undo.callback(delattr, self, "_ring")  # the map cannot be closed while an array views it
            self._take()  # compile before packets wait for it
            self._bind(hardware, promiscuous, program)
            self._waker, self._woken = socket.socketpair()
            undo.pop_all()
        self._waker.setblocking(False)
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)
        self._poll.register(self._woken, select.POLLIN)

    def read(self, timeout_s: float) -> Frames | None:
        """Wait up to `timeout_s` for packets; at most 8192 rows. The memory is valid until the next read.

        An interface that is down is waited for. Raises CaptureError once it is gone, or the socket has failed, and all
        that was captured before has been read.
        """
        now_s = time.monotonic()
        deadline_s = now_s + timeout_s
        while True:
            if now_s - self._looked_s >= _LOOK_S:
                self._look(now_s)
            rows = self._take()
            if rows:
                if self._seen:
                    self._name_interfaces(self._seen, rows, now_s)
                return Frames(
                    self._ts[:rows], self._orig_len[:rows], self._iface[:rows], self._offsets[: rows + 1], self._data
                )
            if self._failure:
                raise CaptureError(self._failure)
            remaining_s = max(0.0, deadline_s - now_s)
            events = self._poll.poll(min(remaining_s, _LOOK_S) * 1000)
            for descriptor, event in events:
                if descriptor == self._woken.fileno():
                    self._woken.recv(4096)
                    return None
                if event & (select.POLLERR | select.POLLHUP | select.POLLNVAL):
                    self._note_failure()
            if not events and not remaining_s:
                return None
            now_s = time.monotonic()

    def adjust(self, capture_filter: str, snaplen: int) -> None:
        """Another filter and snaplen from now on. FilterError or ConfigError, and nothing has changed.

        The kernel swaps filters between two packets: none is lost that passes both, and none is taken twice.
        """
        _check_snaplen(self._interface, snaplen)
        _attach_filter(self._socket, self._interface, self._compile(capture_filter, snaplen))
        self._snaplen = snaplen
        self.interfaces = [replace(each, filter=capture_filter, snaplen=snaplen) for each in self.interfaces]

    def halt(self) -> None:
        """Let no more packets in; read until None gives those that were captured before."""
        _attach_filter(self._socket, self._interface, PASS_NOTHING)
        time.sleep(3 * RETIRE_MS / 1000)  # until the kernel has handed over the block it was filling

    def fileno(self) -> int:
        """Descriptor to poll: readable when there are packets."""
        return self._socket.fileno()

    def counters(self) -> dict[str, int]:
        """`matched`: packets that passed the filter, with the `kernel_dropped` ones for which the ring had no room and
        those that are `in_kernel_ring`, not read yet."""
        self._count()
        return {
            "matched": self._matched,
            "kernel_dropped": self._kernel_dropped,
            "in_kernel_ring": self._in_kernel_ring,
        }

    def wake(self) -> None:
        """Make a blocked read return soon. Safe from any thread, also after close."""
        with contextlib.suppress(OSError):  # full: it will wake anyway; closed: nobody reads
            self._waker.send(b"\0")

    def close(self) -> None:
        """Stop capturing; the counters keep their last values. Not while another thread is in `read`."""
        if self._socket.fileno() < 0:
            return
        self._count()
        del self._ring  # the map cannot be closed while an array views it
        self._memory.close()
        for each in (self._socket, self._waker, self._woken):
            each.close()

    def _compile(self, capture_filter: str, snaplen: int) -> bytes:
        expression = own_traffic_filter(capture_filter, self._exclude)
        return compile_filter(
            expression,
            interface=self._interface,
            link_type=self._link_type,
            snaplen=snaplen,
            exclude=self._exclude,
        )

    def _take(self) -> int:
        rows, self._block = take_blocks(
            self._ring,
            self._block,
            self._snaplen,
            self._seen is not None,
            self._ts,
            self._orig_len,
            self._ifindices,
            self._offsets,
            self._data,
        )
        return int(rows)

    def _bind(self, hardware: int | None, promiscuous: bool, program: bytes) -> None:
        """Let packets in. Until it is bound, a packet socket of protocol 0 gets none: nothing unfiltered slips in."""
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)  # stamp on arrival, alike for all sockets
            if hardware == _ARPHRD_LOOPBACK:
                # There each packet is seen twice, going out and coming in. Since Linux 4.20.
                self._socket.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
            if promiscuous and self._ifindex:
                membership = struct.pack("=iHH8s", self._ifindex, _PACKET_MR_PROMISC, 0, b"")
                self._socket.setsockopt(_SOL_PACKET, _PACKET_ADD_MEMBERSHIP, membership)
            _attach_filter(self._socket, self._interface, program)
            if self._ifindex:
                self._socket.bind((self._interface, _ETH_P_ALL))
            else:
                _bind_to_all(self._socket)
        except OSError as error:
            raise CaptureError(f"cannot capture on {self._interface}: {error.strerror}") from error

    def _count(self) -> None:
        with self._counting:
            if self._socket.fileno() < 0:
                return
            # Reading zeroes them. struct tpacket_stats_v3: tp_packets (drops included), tp_drops, tp_freeze_q_cnt
            matched, dropped, _ = struct.unpack("=III", self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 12))
            self._matched += matched
            self._kernel_dropped += dropped
            self._in_kernel_ring = int(count_waiting(self._ring))

    def _name_interfaces(self, seen: SeenInterfaces, rows: int, now_s: float) -> None:
        seen.place(self._ifindices[:rows], self._iface[:rows], now_s)
        for name in seen.names[len(self.interfaces) :]:
            self.interfaces.append(replace(self.interfaces[0], name=name))

    def _note_failure(self) -> None:
        """Find out why the socket failed, and let the kernel hand over the block it was filling."""
        code = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code in (0, errno.ENETDOWN):
            self._look(time.monotonic())
            self._note_down()  # even if it is up again: packets were missed
        else:
            self._failure = f"the capture on {self._interface} failed: {os.strerror(code)}"
        time.sleep(3 * RETIRE_MS / 1000)

    def _look(self, now_s: float) -> None:
        """Look at what has become of the interface. Down and up again, the kernel goes on feeding the socket."""
        self._looked_s = now_s
        if not self._ifindex:
            return
        self.interrupted, self.condition = False, ""
        names = dict(socket.if_nameindex())
        name = names.get(self._ifindex)
        try:
            if name is None:
                raise OSError
            flags, _ = _interface_state(name)
        except OSError:
            self._failure = f"interface {self._interface} is gone; it is waited for"
            return
        if name != self._interface:
            if self._interface in names.values():
                self._failure = f"another interface is called {self._interface} now"
                return
            self.condition = f"interface {self._interface} is called {name} now; it is captured under its first name"
        if not flags & _IFF_UP:
            self._note_down()

    def _note_down(self) -> None:
        self.interrupted = True
        self.condition = f"interface {self._interface} is down; it is waited for"


def _require_linux() -> None:
    if sys.platform != "linux":
        raise CaptureError(
            "live capture needs Linux for now: capture on a Linux host with --ssh, or read a capture file with -r"
        )


def _check_snaplen(interface: str, snaplen: int) -> None:
    least = _MIN_COOKED_SNAPLEN if interface == ANY else MIN_SNAPLEN
    if not least <= snaplen <= MAX_FRAME_BYTES:
        raise ConfigError(f"snaplen is {snaplen}; it must be {least} to {MAX_FRAME_BYTES} bytes")


def _check_interface(name: str) -> int:
    """The hardware type (ARPHRD) of an interface that exists, is up and can be captured from; CaptureError else."""
    names = [known for _, known in socket.if_nameindex()]
    if name not in names:
        raise CaptureError(f"there is no interface {name!r} here; there are: {', '.join(names)}")
    try:
        flags, hardware = _interface_state(name)
    except OSError as error:
        raise CaptureError(f"interface {name} cannot be looked at: {error.strerror}") from error
    if not flags & _IFF_UP:
        raise CaptureError(f"interface {name} is down; bring it up first: ip link set {name} up")
    if hardware not in _LINK_TYPES:
        raise CaptureError(
            f"interface {name} has hardware type {hardware}, which live capture does not know; "
            "record it with tcpdump and read the file with -r"
        )
    return hardware


def _interface_state(name: str) -> tuple[int, int]:
    """Flags (IFF_*) and hardware type (ARPHRD_*); OSError where there is no such interface."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("=16s24x", name.encode())  # struct ifreq
        flags = fcntl.ioctl(any_socket, _SIOCGIFFLAGS, request)
        address = fcntl.ioctl(any_socket, _SIOCGIFHWADDR, request)
    return struct.unpack_from("=H", flags, 16)[0], struct.unpack_from("=H", address, 16)[0]


def _ip_addresses(device: cypcap.PcapIf) -> tuple[str, ...]:
    families = (socket.AF_INET, socket.AF_INET6)
    return tuple(entry.addr[1][0] for entry in device.addresses if entry.addr and entry.addr[0] in families)


def _packet_socket(interface: str, link_type: int) -> socket.socket:
    try:
        return socket.socket(
            socket.AF_PACKET, socket.SOCK_DGRAM if link_type in (RAW_IP, COOKED) else socket.SOCK_RAW, 0
        )
    except PermissionError as error:
        raise CapturePermissionError(_PERMISSION.format(interface=interface)) from error
    except OSError as error:
        raise CaptureError(f"cannot open a packet socket for {interface}: {error.strerror}") from error


def _bind_to_all(packet_socket: socket.socket) -> None:
    """Bind to no interface, which is all; Python's `bind` wants one."""
    address = struct.pack("=HHiHBB8s", socket.AF_PACKET, socket.htons(_ETH_P_ALL), 0, 0, 0, 0, b"")
    if ctypes.CDLL(None, use_errno=True).bind(packet_socket.fileno(), address, len(address)):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _map_ring(packet_socket: socket.socket, block_count: int) -> mmap.mmap:
    # struct tpacket_req3. In V3 the frame size only has to divide the block; packets take what they need.
    frame_bytes = mmap.PAGESIZE
    request = struct.pack(
        "=7I", BLOCK_BYTES, block_count, frame_bytes, block_count * BLOCK_BYTES // frame_bytes, RETIRE_MS, 0, 0
    )
    try:
        packet_socket.setsockopt(_SOL_PACKET, _PACKET_VERSION, _TPACKET_V3)
        packet_socket.setsockopt(_SOL_PACKET, _PACKET_RX_RING, request)
        return mmap.mmap(packet_socket.fileno(), block_count * BLOCK_BYTES)
    except OSError as error:
        raise CaptureError(
            f"the kernel gives no packet ring of {block_count * BLOCK_BYTES >> 20} MiB ({error.strerror}); "
            "ask for a smaller capture buffer"
        ) from error


def _attach_filter(packet_socket: socket.socket, interface: str, program: bytes) -> None:
    instructions = ctypes.create_string_buffer(program, len(program))
    try:
        # struct sock_fprog; the kernel copies the instructions
        request = struct.pack("@HP", len(program) // 8, ctypes.addressof(instructions))
        packet_socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, request)
    except OSError as error:
        raise FilterError(
            f"the kernel refuses the capture filter on {interface} ({error.strerror}); make it shorter"
        ) from error
