"""The document of the REST API has what the route table has, and says what requests are parsed by."""

import re
from typing import Any

import msgspec
import pytest

from aishark_panel.streams.answers import LedgerAnswer, RecordingAnswer, StatsAnswer
from aishark_panel.streams.exports import FORMATS
from aishark_panel.streams.ledger import ledger
from aishark_panel.streams.negotiation import choose
from aishark_panel.streams.openapi import document, field_docs, path_template
from aishark_panel.streams.operation import methods_of, operation_of
from aishark_panel.streams.ring import MIN_LIMIT_BYTES
from aishark_panel.streams.routes import ROUTES
from aishark_panel.streams.session import Session
from aishark_panel.streams.stats import stats
from aishark_panel.streams.stream_routes import ExportQuery
from tests.traffic import hello

DOCUMENT = document(ROUTES)
TABLE = {(path_template(pattern, handler), method) for pattern, handler in ROUTES for method in methods_of(handler)}


def test_every_route_and_method_is_in_the_document_and_no_other() -> None:
    described = {(path, method.upper()) for path, about in DOCUMENT["paths"].items() for method in about}
    assert described == TABLE
    assert len(TABLE) > 40


def test_operations_have_names_of_their_own() -> None:
    names = [about["operationId"] for methods in DOCUMENT["paths"].values() for about in methods.values()]
    assert len(set(names)) == len(names)


def test_every_reference_leads_somewhere() -> None:
    text = msgspec.json.encode(DOCUMENT).decode()
    for kind, name in set(re.findall(r'"\$ref":"#/components/(\w+)/(\w+)"', text)):
        assert name in DOCUMENT["components"][kind]


def test_the_document_tells_the_capability_that_is_asked_for() -> None:
    for pattern, handler in ROUTES:
        for method in methods_of(handler):
            about = DOCUMENT["paths"][path_template(pattern, handler)][method.lower()]
            what = operation_of(handler, method)
            assert what
            assert about.get("x-capability") == (handler.capability(method) if what.needs_token else None)
    assert DOCUMENT["paths"]["/api/tokens"]["post"]["x-capability"] == "admin"
    assert DOCUMENT["paths"]["/api/stream/{session_id}/export"]["get"]["x-capability"] == "export"


def test_parameters_are_those_of_the_struct_with_its_bounds_and_words() -> None:
    parameters = {p["name"]: p for p in DOCUMENT["paths"]["/api/stream/{session_id}/packets"]["get"]["parameters"]}
    assert list(parameters) == ["session_id", "where", "columns", "cursor", "end", "limit"]
    assert parameters["limit"]["schema"]["maximum"] == 10_000
    assert parameters["limit"]["schema"]["description"] == "most packets of this page"
    assert parameters["columns"]["explode"] is False


def test_docstrings_of_fields_are_found_in_bases_too() -> None:
    class Sub(ExportQuery):
        pass

    assert field_docs(Sub)["follow"] == "go on while packets arrive"


def test_every_export_format_may_be_asked_for() -> None:
    assert {msgspec.convert({"format": name}, ExportQuery).format for name in FORMATS} == set(FORMATS)


def test_statistics_are_as_described() -> None:
    session = Session("a", "b", ring_bytes=MIN_LIMIT_BYTES)
    session.runs.attach(hello())
    told = msgspec.convert(stats(session), StatsAnswer)
    assert msgspec.to_builtins(told) == stats(session)
    book = ledger(session)
    assert msgspec.to_builtins(msgspec.convert(book, LedgerAnswer)) == book
    with pytest.raises(msgspec.ValidationError, match="unknown field"):
        msgspec.convert({**stats(session), "one_more": 1}, StatsAnswer)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({}, RecordingAnswer)


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("", "a/x"),
        ("*/*", "a/x"),
        ("b/*", "b/y"),
        ("a/x;q=0.5, b/y", "b/y"),
        ("A/X", "a/x"),
        ("*/*, a/x;q=0", "b/y"),
        ("b/y; q=0.2, */*;q=0.1", "b/y"),
        ("a/x;q=nonsense, b/z", None),
        ("image/png", None),
    ],
)
def test_the_type_that_is_accepted_most_is_chosen(accept: str, wanted: Any) -> None:
    assert choose(accept, ("a/x", "b/y")) == wanted
