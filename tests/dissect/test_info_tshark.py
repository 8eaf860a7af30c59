"""Info texts against tshark's Info column, on captures by others.

tshark reassembles nothing here, as we do. Left out of the comparison is what only a whole conversation can tell:
numbers of the request and of duplicates, TCP's problems (tests of their own compare these), and what tshark says where
a message goes on from the segment before or into the next. So are frames of which tshark says nothing. Of TCP the
numbers the conversation began with are taken from tshark.
"""

import os
import re
import subprocess
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from aishark_panel.capturefile import open_capture
from aishark_panel.dissect import Dissector, info_text
from aishark_panel.dissect.info import TcpNumbers
from aishark_panel.errors import CaptureFileError
from aishark_panel.wire.packets import Packets

FILES = [
    "ja4/ssh2.pcapng", "tcpdump/eapon1.pcap", "ja4/tls-handshake.pcapng", "tcpdump/various_gre.pcap",
    "tcpdump/erspan-type-i-4.pcap", "joy/firefox58.pcap", "scapy/ikev2_nat_t.pcapng", "PcapPlusPlus/sll.pcap",
    "wireshark/rsasnakeoil2.pcap", "zeek-community-id/icmp6.pcap", "ja4/dhcpv6.pcap",
    "PcapPlusPlus/ip6_fragments.pcap", "tcpdump/afs.pcap", "joy/kali-password-attack_hydra.pcap",
    "wireshark/examples__test.cap",
    "PcapPlusPlus/VlanPackets.pcap", "tcpdump/tftp-heapoverflow.pcap", "wireshark/tftp.pcap",
]  # fmt: skip

AGREEMENT = {
    "TCP": 0.98, "UDP": 0.99, "HTTP": 0.99, "ARP": 0.98, "TLSv1.3": 1.0, "TLSv1.2": 0.985, "TLSv1": 1.0, "SSLv3": 1.0,
    "DNS": 1.0, "MDNS": 1.0, "NBNS": 1.0, "ICMP": 0.94, "ICMPv6": 1.0, "IPv4": 1.0, "IPv6": 1.0, "DHCP": 1.0,
    "DHCPv6": 1.0, "NTP": 1.0, "STP": 1.0, "SSHv2": 1.0, "SSH": 1.0, "SSDP": 1.0, "IGMPv3": 1.0, "LLDP": 1.0,
    "EAPOL": 1.0, "EAP": 1.0, "OSPF": 1.0, "ISAKMP": 1.0, "ESP": 1.0, "CDP": 0.77, "QUIC": 0.57,
}  # fmt: skip
"""Least share of frames whose text is tshark's, by tshark's protocol. Of QUIC tshark knows how long
the ids in short headers are, from earlier packets."""

FIELDS = ("_ws.col.Protocol", "_ws.col.Info", "frame.encap_type", "tcp.seq", "tcp.seq_raw", "tcp.ack", "tcp.ack_raw",
          "tcp.window_size", "tcp.window_size_value")  # fmt: skip
ALONE = [f"-o{name}:FALSE" for name in ("tcp.desegment_tcp_streams", "ip.defragment", "ipv6.defragment")]

OF_A_CONVERSATION = re.compile(
    r"^(?:\[TCP [^\]]*\] ?)+|\[BoundErrorUnreassembled Packet\]| \((?:request|reply) in \d+\)| \(no response found!\)"
    r"| \(duplicate use of [0-9a-f.:]+ detected!\)| \(SNI=[^)]*\)"  # the last: newer versions say it
)

SAYS_NOTHING = ("", "Client:", "Server:", "Continuation Data", "Ignored Unknown Record")


def tshark_rows(tshark: str, path: Path) -> Iterator[list[str]]:
    fields = [word for name in FIELDS for word in ("-e", name)]
    command = [tshark, "-n", "-Q", "-r", str(path), "-T", "fields", "-E", "occurrence=f", "-E", "separator=\x1f"]
    environment = {**os.environ, "TZ": "UTC", "LC_ALL": "C.UTF-8", "XDG_CONFIG_HOME": "/nonexistent"}
    done = subprocess.run([*command, *ALONE, *fields], capture_output=True, env=environment, check=False)
    rows = (line.split("\x1f") for line in done.stdout.decode("utf-8", "replace").split("\n"))
    return (row for row in rows if len(row) == len(FIELDS) and row[2])


def tcp_numbers(row: list[str]) -> TcpNumbers | None:
    """Where tshark lets the numbers of this direction begin, from the pairs it gives."""
    values = [int(value) if value.isdigit() else None for value in row[3:]]
    sequence, sequence_raw, acknowledged, acknowledged_raw, window, window_raw = values
    if sequence is None or sequence_raw is None:
        return None
    shift = (window // window_raw).bit_length() - 1 if window and window_raw else 0
    base = (acknowledged_raw - acknowledged) % 2**32 if acknowledged is not None and acknowledged_raw else 0
    return TcpNumbers((sequence_raw - sequence) % 2**32, base, shift)


def our_texts(path: Path, rows: list[list[str]]) -> Iterator[str]:
    at = 0
    dissector = Dissector()
    with open_capture(path) as capture:
        try:
            for frames in capture:
                link_types = np.array([interface.link_type for interface in capture.interfaces], np.int32)
                packets = Packets(2 * len(frames) + 8)
                codes = np.arange(len(link_types), dtype=np.uint16)
                assert dissector.append(frames, 0, link_types, codes, packets) == len(frames)
                packets.arena = [frames.data]
                packets.columns.frame_pos[: len(frames)] = frames.offsets[: len(frames)]
                for row in range(min(len(frames), len(rows) - at)):
                    yield info_text(packets, row, int(link_types[frames.iface[row]]), tcp_numbers(rows[at]))
                    at += 1
        except CaptureFileError:
            return


@pytest.fixture(scope="module")
def compared(require_tool: Callable[[str], str], shared_captures: Path) -> dict[str, list[tuple[str, str, str]]]:
    """By tshark's protocol: (where, tshark's text, ours), without what only a conversation can tell."""
    tshark = require_tool("tshark")
    found: dict[str, list[tuple[str, str, str]]] = defaultdict(list)
    for file in FILES:
        rows = list(tshark_rows(tshark, shared_captures / file))
        assert rows, file
        for number, (row, ours) in enumerate(zip(rows, our_texts(shared_captures / file, rows), strict=False), 1):
            theirs, mine = (OF_A_CONVERSATION.sub("", text).strip() for text in (row[1], ours))
            if theirs not in SAYS_NOTHING:
                found[row[0]].append((f"{file} {number}", theirs, mine))
    return found


@pytest.mark.parametrize("protocol", AGREEMENT)
def test_texts_are_those_of_tshark(compared: dict[str, list[tuple[str, str, str]]], protocol: str) -> None:
    cases = compared[protocol]
    assert cases, f"no frame is {protocol}"
    differ = [case for case in cases if case[1] != case[2]]
    share = 1 - len(differ) / len(cases)
    shown = "\n".join("\n  ".join(case) for case in differ[:8])
    assert share >= AGREEMENT[protocol], f"{protocol}: {share:.1%} of {len(cases):,} agree; differing:\n{shown}"
