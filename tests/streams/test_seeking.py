"""Seeking finds what looking at every packet would find."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aishark_panel.errors import ExpressionError
from aishark_panel.streams.seeking import Found, seek
from aishark_panel.streams.session import Session
from tests.traffic import frames, hello

PACKETS = 2_000
HOSTS = 250
"""Packet n comes from port 10,000 + (n - 1) % HOSTS (tests/traffic.py)."""


@pytest.fixture(scope="module")
def session() -> Session:
    """Packets 1 to PACKETS."""
    made = Session("5e55", "lab", ring_bytes=48 * 2**20)
    made.ingest(made.runs.attach(hello()), frames(PACKETS), 1, {})
    return made


def ports(remainder: int, divisor: int) -> tuple[str, list[int]]:
    """An expression and the numbers of its packets; `divisor` 1 stands for all packets."""
    if divisor == 1:
        return "", list(range(1, PACKETS + 1))
    chosen = [p for p in range(HOSTS) if p % divisor == remainder]
    members = ", ".join(str(10_000 + p) for p in chosen)
    return f"src_port in [{members or 1}]", [n for n in range(1, PACKETS + 1) if (n - 1) % HOSTS in chosen]


def by_looking(listed: list[int], wanted: list[int], number: int, *, all_listed: bool, back: bool) -> Found:
    both = [n for n in listed if n in set(wanted)]
    if not both:
        return Found(0, 0, False)
    ahead = [n for n in both if (n <= number if back else n >= number)]
    found = (ahead[-1] if back else ahead[0]) if ahead else (both[-1] if back else both[0])
    return Found(found, found if all_listed else listed.index(found), not ahead)


@given(
    st.integers(-5, PACKETS + 5),
    st.tuples(st.integers(0, 40), st.integers(1, 40)),
    st.tuples(st.integers(0, 40), st.integers(1, 300)),
    st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_it_finds_what_looking_at_every_packet_finds(
    session: Session, number: int, where: tuple[int, int], only: tuple[int, int], back: bool
) -> None:
    where_text, listed = ports(*where)
    only_text, wanted = ports(*only)
    expected = by_looking(listed, wanted, number, all_listed=not where_text, back=back)
    assert seek(session, number, where_text, only_text, back=back) == expected


def test_it_looks_only_as_far_as_the_answer_is(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aishark_panel.streams.seeking._SCAN_ROWS", 100)
    where = "src_port == 10000 and dst_port == 7000"
    assert seek(session, 260, where, "", back=False) == Found(501, 2, False)
    looked = session.matches.get(where).update(session.ring, session.interfaces, 0).scanned_to
    assert 501 < looked <= 601


def test_rows_keep_their_place_when_older_ones_were_evicted() -> None:
    session = Session("5e55", "lab", ring_bytes=48 * 2**20)
    run = session.runs.attach(hello())
    session.ingest(run, frames(1_000), 1, {})
    assert seek(session, 1, "src_port == 10003", "", back=False) == Found(4, 0, False)
    batch = 2
    while session.ring.first < 2_000:
        seek(session, 1, "src_port == 10003", "", back=True)  # what nobody looked at before it went has no place
        session.ingest(run, frames(5_000, first=session.ring.end - 1, size=600), batch, {})
        batch += 1
    found = seek(session, 1, "src_port == 10003", "", back=False)
    oldest = next(n for n in range(session.ring.first, session.ring.end) if (n - 1) % HOSTS == 3)
    assert found == Found(oldest, oldest // HOSTS, False)
    assert seek(session, 1, "", "", back=True) == Found(session.ring.end - 1, session.ring.end - 1, True)
    session.clear()
    assert seek(session, 1, "src_port == 10003", "", back=False) == Found(0, 0, False)
    assert seek(session, 1, "", "", back=False) == Found(0, 0, False)


def test_what_does_not_parse_is_refused(session: Session) -> None:
    with pytest.raises(ExpressionError):
        seek(session, 1, "src_port ==", "", back=False)
