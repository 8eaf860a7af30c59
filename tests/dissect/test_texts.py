"""The text pool: equal texts have equal codes."""

from tests.dissect.rows import dissect_frames
from tests.dissect.test_http import frame


def requests(*hosts: str) -> list[bytes]:
    return [frame(b"GET / HTTP/1.1\r\nHost: " + host.encode() + b"\r\n\r\n") for host in hosts]


def test_equal_texts_get_one_code_and_different_ones_another() -> None:
    hosts = ["a.example", "b.example", "a.example", "A.example", "a.example.", "a.exampl"]
    packets = dissect_frames(*requests(*hosts))
    codes = packets.values("http_host").tolist()
    assert codes[0] == codes[2] == codes[3]
    assert len(set(codes)) == 4
    assert [packets.text(code) for code in codes] == [host.lower() for host in hosts]


def test_an_empty_text_is_null() -> None:
    assert dissect_frames(*requests("")).values("http_host").tolist() == [0]


def test_columns_share_the_pool() -> None:
    packets = dissect_frames(frame(b"GET get HTTP/1.1\r\nHost: get\r\n\r\n"))
    columns = packets.columns
    assert columns.http_path[0] == columns.http_host[0] != columns.http_method[0]


def test_a_thousand_texts_of_every_length_are_told_apart() -> None:
    hosts = [f"{i:x}".rjust(i % 200 + 3, "h") for i in range(1000)]
    packets = dissect_frames(*requests(*hosts, *hosts))
    codes = packets.values("http_host").tolist()
    assert codes[:1000] == codes[1000:]
    assert [packets.text(code) for code in codes[:1000]] == hosts
    assert len(set(codes)) == len(set(hosts))
