"""DNS and its relatives, against messages made by scapy."""

import struct

import pytest
from scapy.layers.dns import DNS, DNSQR, DNSRR
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Ether
from scapy.layers.netbios import NBNSHeader, NBNSQueryRequest

from tests.dissect.rows import row_of


def dns_frame(message: object, port: int = 53) -> object:
    return Ether() / IP() / UDP(sport=40000, dport=port) / message


def raw_query(name: bytes, flags: int = 0x0100) -> bytes:
    return struct.pack(">HHHHHH", 7, flags, 1, 0, 0, 0) + name + struct.pack(">HH", 16, 1)


def test_a_query_has_name_and_type_and_no_response_code() -> None:
    values = row_of(dns_frame(DNS(rd=1, qd=DNSQR(qname="WWW.Example.com", qtype="AAAA"))))
    assert (values["dns_query"], values["dns_qtype"], values["dns_rcode"]) == ("www.example.com", 28, None)
    assert values["protocol"] == "DNS"


def test_a_response_has_a_code_too() -> None:
    answer = DNSRR(rrname="a.example", rdata="1.2.3.4")
    values = row_of(dns_frame(DNS(qr=1, rcode=3, qd=DNSQR(qname="a.example"), an=answer)))
    assert (values["dns_query"], values["dns_qtype"], values["dns_rcode"]) == ("a.example", 1, 3)


def test_a_response_without_a_question_has_no_name() -> None:
    values = row_of(dns_frame(DNS(qr=1, qd=[], an=DNSRR(rrname="x.local", rdata="1.2.3.4")), port=5353))
    assert (values["protocol"], values["dns_query"], values["dns_qtype"], values["dns_rcode"]) == (
        "MDNS",
        None,
        None,
        0,
    )


@pytest.mark.parametrize(("port", "name"), [(53, "DNS"), (5353, "MDNS"), (5355, "LLMNR")])
def test_the_port_tells_the_relatives_apart(port: int, name: str) -> None:
    values = row_of(dns_frame(DNS(qd=DNSQR(qname="printer.local")), port))
    assert (values["protocol"], values["dns_query"]) == (name, "printer.local")


def test_the_root_is_a_dot() -> None:
    assert row_of(dns_frame(raw_query(b"\0")))["dns_query"] == "."


def test_the_longest_name_is_kept_whole_and_a_longer_one_malformed() -> None:
    label = b"\x3f" + b"x" * 63
    longest = row_of(dns_frame(raw_query(3 * label + b"\x3d" + b"y" * 61 + b"\0")))
    assert (len(longest["dns_query"]), longest["malformed"]) == (253, False)
    longer = row_of(dns_frame(raw_query(3 * label + b"\x3e" + b"y" * 62 + b"\0")))
    assert (longer["dns_query"], longer["malformed"]) == (None, True)


def test_netbios_names_are_decoded() -> None:
    query = NBNSHeader(QDCOUNT=1) / NBNSQueryRequest(QUESTION_NAME=b"WORKGROUP", SUFFIX=0x424E)
    values = row_of(Ether() / IP() / UDP(sport=137, dport=137) / query)
    assert (values["protocol"], values["dns_query"], values["dns_qtype"]) == ("NBNS", "workgroup<1d>", 32)


def test_dns_over_tcp_comes_after_its_length() -> None:
    message = bytes(DNS(qd=DNSQR(qname="zone.example", qtype="AXFR")))
    values = row_of(Ether() / IP() / TCP(dport=53) / (struct.pack(">H", len(message)) + message))
    assert (values["protocol"], values["dns_query"], values["dns_qtype"]) == ("DNS", "zone.example", 252)


def test_a_tcp_segment_that_goes_on_with_a_message_is_not_taken_for_one() -> None:
    values = row_of(Ether() / IP() / TCP(dport=53) / (b"\xff" * 100))
    assert (values["protocol"], values["dns_query"], values["malformed"]) == ("DNS", None, False)


@pytest.mark.parametrize(
    "name",
    [
        b"\x40abc\0",  # a reserved label type
        b"\xc0\x0c",  # a pointer to itself
        b"\x01a\xc0\x0c",  # a loop
        b"\xc0\x40\0",  # a pointer forwards
    ],
)
def test_impossible_names_are_malformed(name: bytes) -> None:
    values = row_of(dns_frame(raw_query(name)))
    assert (values["dns_query"], values["dns_qtype"], values["malformed"]) == (None, None, True)


@pytest.mark.parametrize("length", [5, 12, 16, 20])
def test_a_message_that_ends_early_is_malformed_and_if_cut_truncated(length: int) -> None:
    message = raw_query(b"\x07example\0")
    short = row_of(dns_frame(message[:length]))
    assert (short["malformed"], short["truncated"], short["dns_query"]) == (True, False, None)
    frame = bytes(dns_frame(message))  # type: ignore[call-overload]
    cut = row_of(frame[: 42 + length], orig_len=len(frame))
    assert (cut["malformed"], cut["truncated"], cut["dns_query"]) == (False, True, None)
