import contextlib
import gc
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aishark_panel.errors import ExpressionError
from aishark_panel.query import compile_expression
from aishark_panel.query.regexes import MAX_REGEX_SIZE, _size

LARGE = [
    "(?:a{1,1000})" * 100,
    "a{1000}" * 3,
    r"\pL" * 400,
    r"(?i)(?:[^\p{L}]{20}){20}",
    "((a{30}){30}){30}",
    r"(?:\Q(\Ea{1,1000}){3}",
    r"(?:[)(]a{1000}){3}",
    r"(?:[]()]a{1000}){3}",
    "(?:[[:word:]()]{500}){3}",
    "a{" + "9" * 1_500 + "}",
    r"\pL{20}(?i){2}",
    r"\pL{20}\Q\E{2}",
]


@pytest.fixture(scope="module", autouse=True)
def no_garbage_collection() -> Iterator[None]:
    """To go through all that thousands of tests have left takes a second, and would count as part of what is timed."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("regex", LARGE, ids=lambda regex: regex[:20])
@pytest.mark.parametrize("text", ["http_host matches r'{}'", "http_host.str.fullmatch(r'{}', case=False)"])
def test_what_would_take_long_to_compile_is_refused_at_once(regex: str, text: str) -> None:
    started = time.thread_time()
    with pytest.raises(ExpressionError, match="this regular expression is too large") as caught:
        compile_expression(text.replace("{}", regex, 1))
    assert time.thread_time() - started < 0.05
    assert caught.value.position == text.index("r'")


def test_many_that_are_not_large_are_too_large_together() -> None:
    one = "http_host matches 'a{1,900}'"
    assert compile_expression(f"{one} or {one}").columns
    with pytest.raises(ExpressionError, match="too large") as caught:
        compile_expression(f"{one} or {one} or {one}")
    assert caught.value.position == 2 * len(f"{one} or ") + len("http_host matches ")
    # Plain text is no regular expression.
    plain = "http_host.str.contains('a{1,900}', regex=False)"
    assert compile_expression(" or ".join([plain] * 30)).columns


ordinary = st.sampled_from(
    [r"^www\.", r"[a-z0-9-]{1,63}", r"(?i)login|passwd", r"\d{1,3}(\.\d{1,3}){3}$", "(a|b)*c", r"\w+@\w+"]
)


@given(st.lists(ordinary, min_size=1, max_size=5).map("".join))
def test_ordinary_ones_are_small(regex: str) -> None:
    assert _size(regex) <= MAX_REGEX_SIZE
    compile_expression(f"http_host matches r'{regex}'")


part = st.sampled_from(
    ["a", ".", "(", ")", "(?:", "[", "]", "[^", "|", "*", "+?", "?", "{2}", "{9,}", "{1,300}", "{0,40}"]
)
odd = st.sampled_from(
    [r"\pL", r"\P{Greek}", r"\Q", r"\E", r"\W", r"\x{ff}", "[[:alpha:]]", "(?i)", "^", "$", r"\b", "-"]
)


@settings(max_examples=400, deadline=None)
@given(st.lists(part | odd, max_size=40).map("".join))
def test_no_regular_expression_takes_long(regex: str) -> None:
    started = time.thread_time()
    with contextlib.suppress(ExpressionError):
        compile_expression(f"http_host.str.match(r'{regex}')")
    assert time.thread_time() - started < 0.05
