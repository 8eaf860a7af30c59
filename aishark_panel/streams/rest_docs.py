"""docs/rest.md, made from the OpenAPI document: every route, and every object that comes and goes."""

from collections.abc import Iterable, Iterator
from typing import Any, Final

from aishark_panel.streams.openapi import document
from aishark_panel.streams.operation import HTTP_METHODS
from aishark_panel.streams.routes import ROUTES

__all__ = ["render"]

_HEAD: Final = """# The hub's routes

Made from the code by `make docs`; `GET /api/openapi.json` says the same to programs. [protocol.md](protocol.md) has
what the numbers mean. The token goes into the header `Authorization: Bearer TOKEN`. Every error is an
[ErrorAnswer](#erroranswer); beside those named with a route there are 400 (not understood), 401 (no good token), 403
(the token does not allow it), 404 (not there, or somebody else's), 413 (body too long) and 429 (too often).
"""
_UNDERSTOOD: Final = ("400", "401", "403", "404", "413", "429")


def render() -> str:
    """The page."""
    api = document(ROUTES)
    return "\n".join([_HEAD, *_routes(api["paths"]), "## Objects\n", *_objects(api["components"]["schemas"])])


def _routes(paths: dict[str, dict[str, Any]]) -> Iterator[str]:
    group = ""
    found = [(path, method, paths[path]) for path in paths for method in HTTP_METHODS if method.lower() in paths[path]]
    for path, method, about in sorted(found, key=lambda each: each[2][each[1].lower()]["tags"][0]):
        operation = about[method.lower()]
        if operation["tags"][0] != group:
            group = operation["tags"][0]
            yield f"## {group}\n"
        yield f"### `{method} {path}`\n"
        yield " ".join([operation["summary"], operation.get("description", "Needs no token.")]) + "\n"
        asked = [p for p in operation["parameters"] if p["in"] != "path"]
        if asked:
            yield "\n".join(_fields((p["name"], p["schema"], p.get("required", False)) for p in asked)) + "\n"
        if "requestBody" in operation:
            yield f"Body: {_content(operation['requestBody']['content'])}.\n"
        yield f"Answers: {'; '.join(_answers(operation['responses']))}.\n"


def _answers(responses: dict[str, Any]) -> Iterator[str]:
    for status, answer in responses.items():
        if status in _UNDERSTOOD:
            continue
        headers = ", ".join(f"`{name}` ({header['description']})" for name, header in answer.get("headers", {}).items())
        content = _content(answer.get("content", {})) if "$ref" not in answer else ""
        yield " ".join(part for part in (status, content, headers and f"with {headers}") if part)


def _content(content: dict[str, Any]) -> str:
    return " or ".join(_link(about["schema"]) if about["schema"] else f"`{media}`" for media, about in content.items())


def _objects(schemas: dict[str, Any]) -> Iterator[str]:
    for name, schema in sorted(schemas.items()):
        yield f"### {name}\n\n{schema.get('description', '')}\n"
        required = schema.get("required", ())
        fields = schema.get("properties", {})
        yield "\n".join(_fields((field, about, field in required) for field, about in fields.items())) + "\n"


def _fields(fields: Iterable[tuple[str, dict[str, Any], bool]]) -> Iterator[str]:
    yield "| name | type | |"
    yield "| --- | --- | --- |"
    for name, schema, required in fields:
        notes = [schema.get("description", ""), *_bounds(schema)]
        default = schema.get("default")
        notes.append("" if required or default in (None, "", (), []) else f"default {default}")
        told = "; ".join(note for note in notes if note).replace("|", "\\|")
        yield f"| `{name}` | {_type(schema)}{'' if required else ', optional'} | {told} |"


def _bounds(schema: dict[str, Any]) -> Iterator[str]:
    for key, words in (
        ("minimum", "at least"),
        ("maximum", "at most"),
        ("exclusiveMaximum", "less than"),
        ("maxLength", "at most so many characters:"),
        ("maxItems", "at most so many:"),
    ):
        if key in schema:
            yield f"{words} {schema[key]:,}"


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        return _link(schema)
    if "anyOf" in schema:
        return " or ".join(_type(each) for each in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(f"`{value}`" if value != "" else '`""`' for value in schema["enum"])
    kind = schema.get("type", "anything")
    if kind == "array":
        return f"list of {_type(schema.get('items', {}))}"
    inner = schema.get("additionalProperties")
    return f"object of {_type(inner)}" if kind == "object" and isinstance(inner, dict) else str(kind)


def _link(schema: dict[str, Any]) -> str:
    name = schema["$ref"].rpartition("/")[2]
    return f"[{name}](#{name.lower()})"
