"""Expressions made of the language's own grammar, whole and damaged: compiled or refused, fast, and nothing is run."""

import os
import random
import re
import sys
import time
from collections.abc import Callable

import pytest

from aishark_panel.errors import ExpressionError
from aishark_panel.query import Predicate, compile_expression, vocabulary
from tests.query.blocks import INTERFACES, SAMPLE, fill

SENTENCES = int(os.environ.get("AISHARK_FUZZ_EXPRESSIONS", "6000"))

GRAMMAR: dict[str, list[str]] = {
    "condition": [
        "<subject> <compare> <value>", "<subject> <compare> <subject>", "<value> <compare> <subject> <compare> <value>",
        "<name> <in> <set>", "<condition> <join> <condition>", "(<condition>)", "<not><condition>", "<name>",
        "<name> <find> <text>", "<call>", "(<sum> & <number>) <compare> <number>", "payload contains <text>",
        "<name>.str.<method>(<text>)", "<name>.str.contains(<text>, case=<bool>, regex=<bool>)",
    ],
    "call": ["in_net(<name>, <net>)", "has(<name>, <flag>)", "is_private(<name>)", "is_multicast(<name>)"],
    "subject": ["<name>", "<name>", "<sum>", "<name>.str.len()", "entropy(<name>)"],
    "sum": ["<name> <plus> <number>", "<name> <plus> <name>", "-<name>", "(<sum>)", "<sum> <plus> <sum>"],
    "value": ["<number>", "<text>", "<net>"],
    "compare": ["==", "!=", "<", "<=", ">", ">=", "eq", "ge"],
    "in": ["in", "not in"], "find": ["contains", "matches", "~"], "join": ["and", "or", "&", "|", "&&", "||"],
    "not": ["not ", "~", "!"], "plus": ["+", "-", "*", "/", "//", "%"], "bool": ["True", "False", "<number>"],
    "set": ["[<number>, <number>]", "{<number>..<number>}", "(<text>,)", "[]", "[<value>, <value>, <value>]"],
    "number": ["0", "1", "80", "-5", "1.5", "0x1f", "1e3", "18446744073709551615", "9007199254740993", "1_0"],
    "text": ["''", "'www'", '"a.b"', r"r'^w+\d'", "'SYN'", "'DNS'", "'2024-05-31 14:00'", r"'(a|b)*{'", "'a{1,90}'"],
    "flag": ["'SYN'", "'ACK', 'FIN'", "'x'"], "method": ["match", "fullmatch", "startswith", "endswith", "upper"],
    "net": ["10.0.0.1", "'10.0.0.0/8'", "fe80::1", "::/0", "00:11:22:aa:bb:cc", "47:45", "10.0.0.0/99"],
    "name": [word.name for word in vocabulary() if word.kind != "function"],
}  # fmt: skip
SCRAPS = [
    "@os", ".__class__", "__import__('os')", "lambda: 1", "[x for x in src_port]", "open('/etc/passwd')", "'a' * 10**9",
    "**", ":=", ";", "`", "\\", "\0", "\N{CYRILLIC SMALL LETTER A}", "\N{FULLWIDTH EQUALS SIGN}", "(", ")", "[", "]",
    "{", "'", '"', "not", "in", ",", "..", "f'{1}'", "9" * 50, "(?=x)", "{1000}", "\ud800", "é", " if 1 else 2",
]  # fmt: skip
RUNNING = ("exec", "compile", "import", "open", "os.", "subprocess.", "ctypes.", "socket.", "pickle.", "marshal.")


def sentence(rng: random.Random, symbol: str = "condition", depth: int = 0) -> str:
    """A sentence of the grammar."""
    forms = GRAMMAR[symbol]
    form = rng.choice(forms) if depth < 6 else forms[0]
    return re.sub(r"<([a-z]+)>", lambda part: sentence(rng, part[1], depth + 1), form)


def damaged(rng: random.Random, text: str) -> str:
    """The same with a piece gone, doubled, moved, or something put in."""
    for _ in range(rng.randint(1, 3)):
        low, high = sorted(rng.choices(range(len(text) + 1), k=2))
        high = min(high, low + 9)
        match rng.randrange(4):
            case 0:
                text = text[:low] + text[high:]
            case 1:
                text = text[:low] + rng.choice(SCRAPS) + text[low:]
            case 2:
                text = text[:high] + text[low:high] * rng.choice([1, 2, 60]) + text[high:]
            case _:
                text = text[:low] + rng.choice(SCRAPS) + text[high:]
    return text


@pytest.fixture(scope="module")
def events() -> Callable[[bool], list[str]]:
    """Watch, or no longer, what Python is about to do that runs or opens something; what it was."""
    seen: list[str] = []
    watching = False

    def hook(event: str, _: object) -> None:
        if watching and event.startswith(RUNNING):
            seen.append(event)

    sys.addaudithook(hook)  # for good, so it is told when to look

    def watch(on: bool) -> list[str]:
        nonlocal watching
        watching = on
        return seen

    return watch


def test_the_watch_sees_what_runs_code(events: Callable[[bool], list[str]]) -> None:
    events(True)
    eval("1 + 1")
    assert "exec" in events(False)
    events(False).clear()


def test_no_sentence_does_harm(events: Callable[[bool], list[str]]) -> None:
    rng = random.Random(8)
    packets = fill(SAMPLE, [b"GET / HTTP/1.1"] * len(SAMPLE))
    # What loads compiled kernels reads files.
    kernels = "payload contains 'GET' or src_ip == ::1 or entropy(protocol) < 1"
    compile_expression(kernels).mask(packets, 0, packets.length, INTERFACES)
    accepted, slowest = 0, (0.0, "")
    for number in range(SENTENCES):
        text = sentence(rng)
        if number % 2:
            text = damaged(rng, text)
        events(True)
        started = time.thread_time()
        predicate, error = compiled(text)
        slowest = max(slowest, (time.thread_time() - started, text))
        assert not events(False), text
        if predicate is not None:
            accepted += 1
            assert predicate.mask(packets, 0, packets.length, INTERFACES).shape == (packets.length,), text
        else:
            assert str(error), text
            assert 0 <= position_of(error) <= len(text), text
    assert slowest[0] < 0.05, slowest
    assert SENTENCES // 20 < accepted < SENTENCES * 3 // 4


def compiled(text: str) -> tuple[Predicate | None, ExpressionError | None]:
    """What becomes of a text."""
    try:
        return compile_expression(text), None
    except ExpressionError as error:
        return None, error


def position_of(error: ExpressionError | None) -> int:
    """Where it points; -1 if nowhere."""
    return -1 if error is None or error.position is None else error.position
