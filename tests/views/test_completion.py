"""What is offered where somebody types: names, operators and values, and nothing that would not compile."""

import pytest

from aishark_panel.errors import ExpressionError
from aishark_panel.query import compile_expression
from aishark_panel.query.names import resolve
from aishark_panel.views.completion import Place, fault_of, place_of, with_values
from aishark_panel.wire.packets import ARROW_NAMES
from aishark_panel.wire.schema import Kind

VALUES = {
    Kind.TIME: "'2026-01-01T00:00:00Z'", Kind.INTEGER: "1", Kind.FLAGS: "1", Kind.BOOLEAN: "1",
    Kind.MAC: "00:00:00:00:00:01", Kind.ADDRESS: "10.0.0.1", Kind.PROTOCOL: "'TCP'", Kind.TEXT: "'a'",
    Kind.INTERFACE: "'a'",
}  # fmt: skip


def at_end(text: str) -> Place:
    return place_of(text, len(text))


def texts(text: str) -> list[str]:
    return [choice.text for choice in at_end(text).choices]


def taken(text: str, choice: str) -> str:
    """The text once a choice at its end was taken."""
    place = at_end(text)
    return text[: place.start] + choice + text[place.end :]


def test_names_that_begin_so_come_before_names_that_hold_it() -> None:
    found = texts("dns and port")
    assert found[0] == "portmap"
    assert {"src_port", "tcp.port", "udp.dstport"} <= set(found)
    assert texts("tls_sn") == ["tls_sni"]


def test_a_name_says_its_kind_and_its_meaning_as_the_schema_has_it() -> None:
    (choice,) = at_end("tls.handshake.extensions_server").choices[:1]
    assert (choice.text, choice.kind) == ("tls.handshake.extensions_server_name", "text")
    assert choice.meaning == resolve("tls_sni", 0).description


@pytest.mark.parametrize("name", [*ARROW_NAMES, "tcp.port", "ip.addr", "tcp.flags.syn", "frame"])
def test_every_operator_that_is_offered_compiles(name: str) -> None:
    fields = resolve(name, 0).fields
    value = VALUES[fields[0].kind] if fields else "'a'"
    offered = texts(f"{name} ")
    assert offered
    for operator in offered:
        following = "dns" if operator in ("and", "or") else value + ("]" if operator.endswith("[") else "")
        compile_expression(f"{name} {operator} {following}")


@pytest.mark.parametrize(
    ("text", "columns", "where"),
    [
        ("src_ip == ", ("src_ip",), ""),
        ("tcp.port == 44", ("src_port", "dst_port"), "tcp"),
        ("tcp.port in [80, ", ("src_port", "dst_port"), "tcp"),
        ("dns and ip.addr not in {", ("src_ip", "dst_ip"), ""),
        ("(tls_sni contains 'ex", ("tls_sni",), ""),
        ("http_host.str.contains('a", ("http_host",), ""),
        ("in_net(src_ip, '10.", ("src_ip",), ""),
        ("agent == ", ("agent",), ""),
        ("tcp.port ", (), ""),
        ("frame contains 'a", (), ""),
        ("nonsense == ", (), ""),
        ("tcp.flags.syn == ", (), ""),
    ],
)
def test_values_are_asked_for_where_values_belong(text: str, columns: tuple[str, ...], where: str) -> None:
    place = at_end(text)
    assert (place.columns, place.where) == (columns, where)


@pytest.mark.parametrize(
    ("text", "value", "after"),
    [
        ("src_ip == 10.", "10.0.0.1", "src_ip == 10.0.0.1"),
        ("tls_sni == 'a", "a.test", "tls_sni == 'a.test'"),
        ("tls_sni == a", "it's \\ odd", "tls_sni == 'it\\'s \\\\ odd'"),
        ("in_net(src_ip, ", "10.0.0.1", "in_net(src_ip, '10.0.0.1'"),
    ],
)
def test_a_value_is_quoted_where_the_language_wants_it(text: str, value: str, after: str) -> None:
    place = with_values(at_end(text), [(value, 1234)])
    assert taken(text, place.choices[0].text) == after
    assert place.choices[0].meaning == "1,234 of the newest packets"
    compile_expression(after + (")" if "(" in after else ""))


def test_values_no_line_can_show_are_left_out() -> None:
    assert with_values(at_end("tls_sni == "), [("a\nb\x1b", 9)]).choices == ()


def test_protocols_are_offered_seen_ones_first_and_each_once() -> None:
    place = with_values(at_end("protocol == 'tl"), [("TLSv1.3", 7)])
    found = [choice.text for choice in place.choices]
    assert found[:2] == ["'TLSv1.3'", "'TLS'"]
    assert len(found) == len(set(found))


def test_functions_offer_what_they_take() -> None:
    assert texts("has(") == ["tcp_flags", "tcp_problem", "tcp.flags"]
    assert texts("has(tcp_flags, 's") == ["'SYN'", "'RST'", "'PSH'"]
    assert texts("in_n") == ["in_net("]


def test_the_word_around_the_cursor_is_replaced_whole() -> None:
    text = "dns and tcp.prt == 80"
    place = place_of(text, text.index("rt"))
    assert (text[place.start : place.end], place.typed) == ("tcp.prt", "tcp.p")
    quoted = "tls_sni == 'abc' and dns"
    place = place_of(quoted, quoted.index("c'"))
    assert (quoted[place.start : place.end], place.typed) == ("'abc'", "ab")


@pytest.mark.parametrize(
    ("text", "fix"),
    [
        ("src_prt == 80", "src_port == 80"),
        ("dns and tcp_port==3", "dns and tcp.port==3"),
        ("protocol == 'TSL'", "protocol == 'TLS'"),
        ("src_port = 80", "src_port == 80"),
        ("nothing_like_it == 1", ""),
        ("dns and", ""),
    ],
)
def test_what_was_meant_is_offered_if_it_helps(text: str, fix: str) -> None:
    with pytest.raises(ExpressionError) as error:
        compile_expression(text)
    assert fault_of(text) == {"text": text, "message": str(error.value), "position": error.value.position, "fix": fix}


def test_nothing_is_wrong_with_a_good_filter() -> None:
    assert fault_of("dns and tcp.port == 53") is None
