"""The dissector against tshark, frame by frame, over captures by others (`../shared/oracle/README.md` describes both).

Header columns are compared wherever tshark found nothing wrong or cut, in tunnels too; names of applications wherever
tshark found one in that frame alone. docs/differences.md lists what remains different, and who is right.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow.parquet as pq
import pytest

from aishark_panel.capturefile import open_capture
from aishark_panel.dissect import Dissector
from aishark_panel.errors import CaptureFileError
from aishark_panel.wire.layers import Layer
from aishark_panel.wire.packets import MAX_TEXT_BYTES, Packets

HEADER_AGREEMENT = 0.999
NAME_AGREEMENT = 0.99

ETHERNET_HEADERS = ("eth_src", "eth_dst", "eth_type", "vlan_id", "vlan_inner_id", "mpls_label", "arp_op")
IP_HEADERS = (
    *("ip_version", "src_ip", "dst_ip", "ip_proto", "ip_ttl", "ip_id", "ip_frag_offset", "src_port", "dst_port"),
    *("tcp_flags", "tcp_seq", "tcp_ack", "tcp_window", "payload_len", "icmp_type", "icmp_code"),
)
INNER_HEADERS = ("tunnel_id", "inner_src_ip", "inner_dst_ip", "inner_ip_proto", "inner_src_port", "inner_dst_port")
HEADERS = (*ETHERNET_HEADERS, *IP_HEADERS, *INNER_HEADERS)
NAMES = {
    "dns_query": "dns_qry_name",
    "dns_qtype": "dns_qry_type",
    "tls_sni": "tls_sni",
    "http_method": "http_request_method",
    "http_host": "http_host",
    "http_path": "http_request_uri",
    "http_status": "http_response_code",
}
"""Our column: tshark's."""

ETHERNET_FRAMES = "eth:"
OTHER_FRAMES = ("raw:", "null:", "sll:", "ppp:", "chdlc:", "ip:", "ipv6:", "nflog:", "pktap:", "ipoib:", "ipnet:")
"""How tshark's list of protocols starts for the link types dissected here."""

NOT_IN_TSHARK = (":udp:data", ":dccp")
"""How tshark's list ends where it finds nothing, and we do: VXLAN to Linux's first port, 8472; and DCCP, whose ports it
has among other fields"""


@pytest.fixture(scope="module")
def both(shared_dir: Path, shared_captures: Path) -> pd.DataFrame:
    """See `compared`."""
    path = shared_dir / "oracle" / "oracle.parquet"
    if not path.is_file():
        pytest.skip(f"there is no file {path}")
    return compared(path, shared_captures)


def compared(oracle_file: Path, captures: Path) -> pd.DataFrame:
    """Each frame that tshark read without complaint: tshark's columns as they are, ours with the prefix `our_`."""
    oracle = pq.read_table(oracle_file).to_pandas()
    # tshark numbers pcapng Custom Blocks like frames; they have no encapsulation.
    oracle = oracle[oracle.encap_type.notna() & ~oracle.file.str.startswith("other_formats/")]
    oracle["number"] = oracle.groupby("file").cumcount() + 1
    oracle = oracle[oracle.protocols.str.startswith((ETHERNET_FRAMES, *OTHER_FRAMES))]
    dissected = (table for file in sorted(oracle.file.unique()) for table in dissected_file(captures, file))
    ours = pd.concat(dissected).add_prefix("our_")
    table = oracle.merge(ours, left_on=["file", "number"], right_on=["our_file", "our_number"], how="left")
    missing = table[table.our_number.isna()]
    assert missing.empty, f"{len(missing)} frames were not read, of {sorted(missing.file.unique())}"
    return in_our_form(table[~table.malformed & ~table.short & table.layers_aligned].copy())


def dissected_file(captures: Path, file: str) -> Iterator[pd.DataFrame]:
    """One table a batch of the file's frames; of a damaged file, those before the damage."""
    number = 0
    dissector = Dissector()
    with open_capture(captures / file) as capture:
        batches = iter(capture)
        while True:
            try:
                frames = next(batches)
            except (StopIteration, CaptureFileError):
                return
            link_types = np.array([interface.link_type for interface in capture.interfaces], np.int32)
            packets = Packets(2 * len(frames) + 8)  # so that texts never fill it
            codes = np.arange(len(link_types), dtype=np.uint16)
            assert dissector.append(frames, 0, link_types, codes, packets) == len(frames)
            packets.first_number = number + 1
            number += len(frames)
            batch = packets.to_arrow([], ["number", *HEADERS, *NAMES, "protocol"])
            columns = {name: column.to_pylist() for name, column in zip(batch.schema.names, batch.columns, strict=True)}
            table = pd.DataFrame(columns, dtype=object)
            yield table.assign(file=file, layers=packets.values("layers").astype(np.int64))


def in_our_form(table: pd.DataFrame) -> pd.DataFrame:
    """Give tshark's columns our names and meanings, and blank ours where tshark has no such field."""

    def seen(layer: Layer) -> pd.Series:
        return (table.our_layers & int(layer)) != 0

    table["eth_type"] = table.eth_type.mask(table.vlan_count > 0, table.eth_type_inner)
    table["arp_op"] = table.arp_opcode.where(table.arp_src_ip.notna())  # ours are about IPv4 only
    table["src_ip"] = table.ip_src.fillna(table.arp_src_ip)
    table["dst_ip"] = table.ip_dst.fillna(table.arp_dst_ip)
    table["ip_proto"] = table.ip_proto_final
    table["ip_frag_offset"] = table.ip_frag_offset.where(seen(Layer.FRAGMENT))
    table["our_ip_id"] = table.our_ip_id.where(seen(Layer.IPV4))
    table["vlan_inner_id"] = table.vlan_id_inner
    # tshark gives the first and the last occurrence of each field, we the outermost and the innermost transport.
    in_tunnel = seen(Layer.INNER_IP)
    for end in ("src", "dst"):
        tcp, udp, sctp = (table[f"{name}_{end}port"] for name in ("tcp", "udp", "sctp"))
        table[f"{end}_port"] = udp.fillna(tcp).fillna(sctp).where(~in_tunnel | seen(Layer.PORTS))
        innermost = tcp.fillna(table[f"udp_{end}port_inner"]).fillna(udp.where(~seen(Layer.PORTS)))
        table[f"inner_{end}_port"] = innermost.where(in_tunnel)
        table[f"inner_{end}_ip"] = table[f"ip_{end}_inner"]
        table[f"our_inner_{end}_ip"] = table[f"our_inner_{end}_ip"].where(in_tunnel)
    table["inner_ip_proto"] = table.ip_proto_inner
    table["tunnel_id"] = table.vxlan_vni.fillna(table.geneve_vni)
    table["our_tunnel_id"] = table.our_tunnel_id.where(seen(Layer.VXLAN | Layer.GENEVE))
    table["tcp_flags"] = table.tcp_flags % 512  # its three highest bits are reserved
    table["payload_len"] = table.tcp_len
    table["our_payload_len"] = table.our_payload_len.where(seen(Layer.ANY_TCP))
    table["icmp_type"] = table.icmp_type.fillna(table.icmpv6_type)
    table["icmp_code"] = table.icmp_code.fillna(table.icmpv6_code)
    table["dns_qry_name"] = table.dns_qry_name.replace("<Root>", ".").str.lower()
    table["http_host"] = table.http_host.str.lower()
    table["tls_sni"] = table.tls_sni.str.lower()
    table["http_request_uri"] = table.http_request_uri.str[:MAX_TEXT_BYTES]
    return table


def outer_only(table: pd.DataFrame) -> pd.DataFrame:
    """Frames without tunnels and quoted packets, whose inner headers tshark reports too."""
    one_ethernet = table.protocols.str.count(r"\beth\b") <= 1
    return table[one_ethernet & (table.ip_headers.fillna(0) <= 1) & ~table.icmp_quoted]


def differing(table: pd.DataFrame, our_column: str, column: str) -> tuple[int, pd.DataFrame]:
    """How many rows have a value on either side, and those where the two differ."""
    ours, theirs = table[f"our_{our_column}"], table[column]
    filled = ours.notna() | theirs.notna()
    differs: npt.NDArray[np.bool_] = (filled & ~(ours == theirs).fillna(False)).to_numpy(bool)
    rows = pd.DataFrame({"file": table.file, "number": table.number, "ours": ours, "tshark": theirs})
    return int(filled.sum()), rows[differs]


def assert_agreement(table: pd.DataFrame, our_column: str, column: str, wanted: float) -> None:
    filled, differ = differing(table, our_column, column)
    assert filled, f"no frame has {our_column}"
    agreement = 1 - len(differ) / filled
    assert agreement >= wanted, f"{our_column}: {agreement:.3%} of {filled:,} agree; differing:\n{differ.head(20)}"


def comparable(table: pd.DataFrame) -> pd.DataFrame:
    """Frames without quoted packets, which tshark reports like those in tunnels, and without what only we know."""
    unknown = table.protocols.str.endswith(NOT_IN_TSHARK[0]) & ((table.our_layers & int(Layer.VXLAN)) != 0)
    # A TCP header length that cannot be: tshark stops there, we read on to the flags and call it malformed. Lengths
    # on the wire that no signed number holds, tshark cuts.
    odd = (table.tcp_hdr_len < 20) | (table.frame_len >= 2**31 - 1)
    return table[~table.icmp_quoted & ~unknown & ~odd & ~table.protocols.str.contains(NOT_IN_TSHARK[1])]


@pytest.mark.parametrize("column", HEADERS)
def test_header_columns_of_ethernet_frames_agree_with_tshark(both: pd.DataFrame, column: str) -> None:
    frames = comparable(both[both.protocols.str.startswith(ETHERNET_FRAMES)])
    assert_agreement(frames, column, column, HEADER_AGREEMENT)


@pytest.mark.parametrize("column", [name for name in IP_HEADERS if name != "ip_frag_offset"])  # nobody has fragments
def test_header_columns_of_other_link_types_agree_with_tshark(both: pd.DataFrame, column: str) -> None:
    frames = comparable(both[both.protocols.str.startswith(OTHER_FRAMES)])
    assert_agreement(frames, column, column, HEADER_AGREEMENT)


def test_tunnels_are_found_where_tshark_finds_them(both: pd.DataFrame) -> None:
    frames = comparable(both)
    theirs, ours = frames.ip_headers.fillna(0) > 1, (frames.our_layers & int(Layer.INNER_IP)) != 0
    differ = frames[theirs != ours]
    assert theirs.sum() > 300
    assert len(differ) <= (1 - HEADER_AGREEMENT) * theirs.sum(), differ[["file", "number", "protocols"]].head(20)


@pytest.mark.parametrize("column", NAMES)
def test_application_names_are_found_where_tshark_finds_them(both: pd.DataFrame, column: str) -> None:
    frames = outer_only(both)
    frames = frames[frames[NAMES[column]].notna() & ~frames.protocols.str.contains(":quic")]  # its hellos are encrypted
    assert_agreement(frames, column, NAMES[column], NAME_AGREEMENT)
