"""HTTP/1 messages and SSDP."""

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Ether

from tests.dissect.rows import row_of

REQUEST = b"GET /Index.html?q=1 HTTP/1.1\r\nUser-Agent: x\r\nHOST: \tWWW.Example.com \r\nAccept: */*\r\n\r\n"


def frame(payload: bytes) -> bytes:
    return bytes(Ether() / IP() / TCP(sport=40000, dport=8888) / payload)


def test_method_path_and_host_of_a_request_are_found() -> None:
    values = row_of(frame(REQUEST))
    assert (values["http_method"], values["http_path"]) == ("GET", "/Index.html?q=1")
    assert (values["http_host"], values["protocol"], values["http_status"]) == ("www.example.com", "HTTP", None)


def test_the_host_is_looked_for_among_the_headers_only() -> None:
    assert row_of(frame(b"POST /x HTTP/1.1\r\nA: b\r\n\r\nHost: body.example\r\n"))["http_host"] is None


def test_bare_newlines_end_lines_too() -> None:
    assert row_of(frame(b"GET / HTTP/1.0\nHost: a.example\n\n"))["http_host"] == "a.example"


@pytest.mark.parametrize("method", ["M-SEARCH", "PROPFIND", "VERSION-CONTROL", "FOO"])
def test_any_method_is_one_before_a_version(method: str) -> None:
    assert row_of(frame(f"{method} /x HTTP/1.1\r\n\r\n".encode()))["http_method"] == method


def test_a_request_line_that_goes_on_in_the_next_segment_needs_a_known_method() -> None:
    values = row_of(frame(b"GET /a/very/long/path"))
    assert (values["http_method"], values["http_path"], values["truncated"]) == ("GET", "/a/very/long/path", False)
    assert row_of(frame(b"FOO /a/very/long/path"))["http_method"] is None


@pytest.mark.parametrize(
    "payload", [b"GET /x SMTP/1.1\r\n", b"GET\r\n", b"get / HTTP/1.1\r\n", b"AB / HTTP/1.1\r\n", b"GET /x\r\n"]
)
def test_what_only_looks_like_a_request_is_none(payload: bytes) -> None:
    assert row_of(frame(payload))["protocol"] == "TCP"


def test_texts_are_cut_at_255_bytes() -> None:
    values = row_of(frame(b"GET /" + b"x" * 1000 + b" HTTP/1.1\r\nHost: " + b"y" * 300 + b"\r\n\r\n"))
    assert (values["http_path"], values["http_host"]) == ("/" + "x" * 254, "y" * 255)


@pytest.mark.parametrize(("line", "status"), [(b"HTTP/1.1 200 OK", 200), (b"HTTP/1.0 999", 999)])
def test_the_status_of_a_response_is_found(line: bytes, status: int) -> None:
    values = row_of(frame(line + b"\r\n\r\n"))
    assert (values["http_status"], values["http_method"], values["protocol"]) == (status, None, "HTTP")


@pytest.mark.parametrize("line", [b"HTTP/1.1 2x0 OK\r\n", b"HTTP/1.1  20 OK\r\n", b"HTTPS is not it", b"HTTP/1.1"])
def test_what_only_looks_like_a_response_is_none(line: bytes) -> None:
    assert (row_of(frame(line))["http_status"], row_of(frame(line))["protocol"]) == (None, "TCP")


@pytest.mark.parametrize("length", [8, 25, 40, 60])
def test_headers_cut_by_the_capture_are_truncated(length: int) -> None:
    whole = frame(REQUEST)
    values = row_of(whole[: 54 + length], orig_len=len(whole))
    assert (values["http_method"], values["http_host"], values["truncated"]) == ("GET", None, True)


def test_ssdp_has_the_same_fields() -> None:
    search = b'M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nMAN: "ssdp:discover"\r\n\r\n'
    values = row_of(Ether() / IP() / UDP(sport=40000, dport=1900) / search)
    assert (values["protocol"], values["http_method"], values["http_path"]) == ("SSDP", "M-SEARCH", "*")
    assert values["http_host"] == "239.255.255.250:1900"
