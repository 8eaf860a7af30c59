import pytest

from aishark_panel.errors import ExpressionError
from aishark_panel.query.tokens import MAX_TEXT_CHARS, tokenize


def words(text: str) -> list[str]:
    return [token.text for token in tokenize(text)[:-1]]


def kinds(text: str) -> list[str]:
    return [token.kind for token in tokenize(text)[:-1]]


def test_the_spellings_of_pandas_and_wireshark_become_one() -> None:
    assert words("a && b || !c") == words("a and b or not c")
    assert words("a eq 1 ne 2 lt 3 le 4 gt 5 ge 6") == words("a == 1 != 2 < 3 <= 4 > 5 >= 6")


def test_every_token_knows_where_it_starts() -> None:
    assert [token.position for token in tokenize("ip.addr == 10.0.0.1\n&& tcp")] == [0, 8, 11, 20, 23, 26]


@pytest.mark.parametrize(
    ("text", "value"),
    [("0", 0), ("443", 443), ("1_000", 1000), ("0x1F", 31), ("0b101", 5), ("0o17", 15), ("1.5", 1.5), ("1e3", 1000.0),
     ("True", 1), ("false", 0), ("18446744073709551615", 2**64 - 1)],
)  # fmt: skip
def test_numbers_have_their_value(text: str, value: float) -> None:
    (token, _) = tokenize(text)
    assert (token.kind, token.value) == ("number", value)


@pytest.mark.parametrize(
    "text",
    ["10.0.0.1", "10.0.0.0/8", "::1", "fe80::1", "2001:db8::/32", "::ffff:10.0.0.1", "00:11:22:aa:bb:cc", "47:45"],
)
def test_addresses_and_bytes_need_no_quotes(text: str) -> None:
    assert kinds(text) == ["bare"]
    assert kinds(f"{{{text},{text}}}") == ["symbol", "bare", "symbol", "bare", "symbol"]


def test_a_range_is_not_a_fraction() -> None:
    assert words("{8000..8100}") == ["{", "8000", "..", "8100", "}"]
    assert words("10.0.0.1..10.0.0.9") == ["10.0.0.1", "..", "10.0.0.9"]


def test_names_that_look_like_hex_stay_names() -> None:
    assert kinds("dead == beef") == ["name", "symbol", "name"]


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        (r"'a\'b'", "a'b"), (r'"a\"b"', 'a"b'), (r"'a\\b'", r"a\b"), (r"'\.com$'", r"\.com$"), (r"'\x41\n'", "A\n"),
        (r"r'\x41\\'", r"\x41\\"), ("'\N{GREEK SMALL LETTER ALPHA}'", "\N{GREEK SMALL LETTER ALPHA}"), ("''", ""),
    ],
)  # fmt: skip
def test_strings_lose_their_quotes_and_escapes(text: str, meant: str) -> None:
    (token, _) = tokenize(text)
    assert (token.kind, token.text) == ("text", meant)


@pytest.mark.parametrize(
    ("text", "position", "says"),
    [
        ("a \N{FULLWIDTH EQUALS SIGN} 1", 2, "U+FF1D (FULLWIDTH EQUALS SIGN) is not allowed here; did you mean '='?"),
        ("a == \N{LEFT DOUBLE QUOTATION MARK}x", 5, "did you mean a plain quote?"),
        ("a \N{EM DASH} 1", 2, "did you mean '-'?"),
        ("a\N{NO-BREAK SPACE}== 1", 1, "did you mean a plain space?"),
        ("a\N{ZERO WIDTH SPACE}", 1, "ZERO WIDTH SPACE"),
        ("p\N{CYRILLIC SMALL LETTER O}rt", 1, "CYRILLIC SMALL LETTER O"),
        ("a == '\ud800'", 6, "half of a character"),
        ("a == 'b", 5, "add ' at its end"),
        ("a == f'b'", 5, "no prefix 'f'"),
        ("a == 443tcp", 5, "runs into letters"),
        ("a == 007", 5, "starts with 0"),
        ("a == 1__0", 5, "not a number"),
        ("a == 18446744073709551616", 5, "larger than any column"),
        ("a == 1e999", 5, "larger than any column"),
        ("a == " + "1" * 41, 5, "at most 40 characters"),
        ("@a", 0, "columns only"),
        ("a ? b", 2, "'?' is not part"),
        ("tcp\0", 3, "U+0000"),
        ("a" * (MAX_TEXT_CHARS + 1), MAX_TEXT_CHARS, "2,001 characters"),
    ],
)
def test_what_is_not_the_language_is_refused_where_it_stands(text: str, position: int, says: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        tokenize(text)
    assert caught.value.position == position
    assert says in str(caught.value)
