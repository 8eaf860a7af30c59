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


def answered(answer: bytes, questions: int = 1) -> object:
    """A response with so many equal questions and one answer record after its name."""
    question = b"\x01a\x07example\0" + struct.pack(">HH", 1, 1)
    return dns_frame(
        struct.pack(">HHHHHH", 7, 0x8180, questions, 1, 0, 0) + questions * question + b"\xc0\x0c" + answer
    )


def resource(kind: int, content: bytes, length: int | None = None) -> bytes:
    return struct.pack(">HHIH", kind, 1, 60, len(content) if length is None else length) + content


@pytest.mark.parametrize(
    ("kind", "content", "text"),
    [
        (1, b"\xc0\x00\x02\x09", "192.0.2.9"),
        (28, bytes.fromhex("20010db8000000000001000000000001"), "2001:db8::1:0:0:1"),
        (5, b"\x03WWW\xc0\x0e", "www.example"),
        (2, b"\x02ns\x03net\0", "ns.net"),
        (12, b"\xc0\x0c", "a.example"),
        (15, b"\0\x0a\x02mx\xc0\x0e", "mx.example"),
        (33, b"\0\0\0\0\x01\xbb\x01h\xc0\x0e", "h.example"),
        (16, b"\x05v=TXT\x05other", "v=TXT"),
        (6, b"\xc0\x0c\xc0\x0c" + bytes(20), None),
        (1, b"\1\2\3", None),
        (16, b"", None),
        (33, b"\0\0", None),
    ],
)
def test_the_first_answer_is_text(kind: int, content: bytes, text: str | None) -> None:
    values = row_of(answered(resource(kind, content)))
    assert (values["dns_answer"], values["dns_query"], values["malformed"]) == (text, "a.example", False)


def test_answers_after_several_questions_or_none_are_found() -> None:
    content = resource(1, b"\1\2\3\4")
    assert row_of(answered(content, questions=3))["dns_answer"] == "1.2.3.4"
    bare = struct.pack(">HHHHHH", 0, 0x8400, 0, 1, 0, 0) + b"\x01x\x05local\0" + content
    assert row_of(dns_frame(bare, 5353))["dns_answer"] == "1.2.3.4"


def test_an_answer_that_does_not_fit_is_malformed_and_if_cut_truncated() -> None:
    short = row_of(answered(resource(1, b"\1\2", length=4)))
    assert (short["dns_answer"], short["malformed"], short["truncated"]) == (None, True, False)
    frame = bytes(answered(resource(1, b"\1\2\3\4")))  # type: ignore[call-overload]
    for cut_bytes in (1, 5, 12):
        cut = row_of(frame[:-cut_bytes], orig_len=len(frame))
        assert (cut["dns_answer"], cut["malformed"], cut["truncated"]) == (None, False, True)


@pytest.mark.parametrize("content", [b"\xc0\xff", b"\x01a\xc0\x2b", b"\x80"])
def test_an_answer_with_an_impossible_name_is_malformed(content: bytes) -> None:
    assert row_of(answered(resource(5, content)))["malformed"]


def test_an_answer_over_tcp_that_goes_on_in_the_next_segment_is_not_malformed() -> None:
    message = bytes(DNS(qr=1, qd=DNSQR(qname="a.example"), an=DNSRR(rrname="a.example", rdata="1.2.3.4")))
    for length in (20, len(message) - 2):
        values = row_of(Ether() / IP() / TCP(dport=53) / (struct.pack(">H", len(message)) + message[:length]))
        assert (values["dns_answer"], values["malformed"], values["truncated"]) == (None, False, False)


def test_netbios_answers_are_addresses() -> None:
    answer = resource(32, b"\0\0\x0a\0\0\x07")
    response = struct.pack(">HHHHHH", 7, 0x8500, 0, 1, 0, 0) + b"\x20" + b"CA" * 16 + b"\0" + answer
    assert row_of(dns_frame(response, 137))["dns_answer"] == "10.0.0.7"


@pytest.mark.parametrize(
    "message",
    [
        raw_query(b"\x03www\x07example\0", flags=0x7800),
        raw_query(b"\x03w w\x07example\0"),
        raw_query(b"\x03www\x07example\0")[:-1] + b"\x05",
        raw_query(b"\0"),
    ],
)
def test_what_is_no_sound_query_is_not_dns_on_other_ports(message: bytes) -> None:
    values = row_of(dns_frame(message, 8053))
    assert (values["protocol"], values["dns_query"], values["malformed"]) == ("UDP", None, False)
