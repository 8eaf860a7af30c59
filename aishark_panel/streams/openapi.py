"""The REST API as an OpenAPI 3.1 document, made from the route table, the descriptions beside the handlers' methods
(streams/operation.py) and the structs they name.

What a field means is its docstring in the struct, read from the source once.
"""

import ast
import functools
import inspect
import re
from collections.abc import Iterable
from types import ModuleType
from typing import Any, Final

import msgspec
from tornado.websocket import WebSocketHandler

from aishark_panel import __version__
from aishark_panel.streams.answers import ErrorAnswer
from aishark_panel.streams.guard import Guarded, Route
from aishark_panel.streams.operation import JSON, Operation, methods_of, operation_of

__all__ = ["document", "field_docs", "path_template", "rendered"]

_COMPONENTS: Final = "#/components/schemas/{name}"
_GROUP: Final = re.compile(r"\(([^)]*)\)")
_MEANING: Final = {
    400: "The request is not understood.",
    401: "No token, or not a good one.",
    403: "The token does not allow it.",
    404: "It is not there, or belongs to somebody else.",
    406: "None of the media types that are accepted can be made.",
    409: "It does not fit the state that things are in now.",
    413: "The body is too long.",
    429: "Too many requests; Retry-After says when to come back.",
}


@functools.cache
def rendered(routes: tuple[Route, ...]) -> bytes:
    """The document as JSON."""
    return msgspec.json.encode(document(routes))


def document(routes: Iterable[Route]) -> dict[str, Any]:
    """The document, as JSON has it."""
    found = [
        (pattern, handler, method, what)
        for pattern, handler in routes
        for method in methods_of(handler)
        if (what := operation_of(handler, method))
    ]
    kinds: list[Any] = [ErrorAnswer]
    for _, _, _, what in found:
        kinds += [kind for kind in (what.query, what.body, what.answer) if kind is not None]
    structs = list(dict.fromkeys(kinds))
    references, schemas = msgspec.json.schema_components(structs, ref_template=_COMPONENTS)
    known = {kind: reference["$ref"].rpartition("/")[2] for kind, reference in zip(structs, references, strict=True)}
    for kind in _all_structs(structs):
        _describe_fields(schemas.get(known.get(kind, kind.__name__), {}), field_docs(kind))
    paths: dict[str, Any] = {}
    for pattern, handler, method, what in found:
        about = _operation(pattern, handler, method, what, known, schemas)
        paths.setdefault(path_template(pattern, handler), {})[method.lower()] = about
    for kind in {what.query for _, _, _, what in found if what.query}:
        del schemas[known[kind]]  # they stand as parameters
    error = {JSON: {"schema": _reference(known[ErrorAnswer])}}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "aishark hub",
            "version": __version__,
            "description": "Sessions of captured packets, the agents that feed them, and people. docs/protocol.md "
            "says what the numbers mean.",
            "license": {"name": "BSD-3-Clause", "identifier": "BSD-3-Clause"},
        },
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": {f"Error{s}": {"description": m, "content": error} for s, m in _MEANING.items()},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "description": "A token of this hub."}},
        },
    }


def path_template(pattern: str, handler: type[Guarded]) -> str:
    """A route's path with the names of its parameters in braces."""
    names = iter(_path_names(handler, methods_of(handler)[0]))
    return _GROUP.sub(lambda _: f"{{{next(names)}}}", pattern).replace("\\", "")


def _path_names(handler: type[Guarded], method: str) -> list[str]:
    """The names of a method's path parameters: its own, positional ones."""
    is_socket = issubclass(handler, WebSocketHandler) and method == "GET"
    parameters = inspect.signature(getattr(handler, "open" if is_socket else method.lower())).parameters.values()
    return [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD][1:]


def _operation(
    pattern: str,
    handler: type[Guarded],
    method: str,
    what: Operation,
    known: dict[Any, str],
    schemas: dict[str, Any],
) -> dict[str, Any]:
    needs, names = handler.capability(method), _path_names(handler, method)
    about: dict[str, Any] = {
        "operationId": f"{method.lower()}{handler.__name__}",
        "tags": [pattern.removeprefix("/api").split("/")[1].partition(".")[0]],
        "summary": what.summary,
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string", "pattern": f"^{group}$"}}
            for name, group in zip(names, _GROUP.findall(pattern), strict=True)
        ],
        "responses": _responses(names, what, known),
    }
    if what.needs_token:
        about["description"] = f"Needs the capability `{needs}`."
        about["x-capability"] = needs
    else:
        about["security"] = [{}]
    if what.query is not None:
        about["parameters"] += [
            {"name": name, "in": "query", "schema": schema, **({"explode": False} if _is_list(schema) else {})}
            for name, schema in schemas[known[what.query]]["properties"].items()
        ]
    for name, kind in what.headers.items():
        schema = msgspec.json.schema(kind)
        about["parameters"].append({"name": name, "in": "header", "required": True, "schema": schema})
    if what.body is not None:
        content = {JSON: {"schema": _reference(known[what.body])}}
        required = bool(schemas[known[what.body]].get("required"))
        about["requestBody"] = {"content": content, "required": required}
    elif what.chunk:
        about["requestBody"] = {"content": {what.chunk: {"schema": {}}}, "required": True}
    return about


def _responses(names: list[str], what: Operation, known: dict[Any, str]) -> dict[str, Any]:
    content: dict[str, Any] = {media: {"schema": {}} for media in what.media}
    if what.answer is not None:
        content[JSON] = {"schema": _reference(known[what.answer])}
    done: dict[str, Any] = {"description": "Done." if what.status == 204 else what.summary}
    if content:
        done["content"] = content
    if what.says:
        done["headers"] = {n: {"description": d, "schema": {"type": "string"}} for n, d in what.says.items()}
    errors = {400, 429, *what.errors}
    if what.needs_token:
        errors |= {401, 403}
    if names:
        errors.add(404)
    if what.body is not None or what.chunk:
        errors.add(413)
    refused = {str(status): {"$ref": f"#/components/responses/Error{status}"} for status in sorted(errors)}
    return {str(status): done for status in (what.status, *what.also)} | refused


def _reference(name: str) -> dict[str, str]:
    return {"$ref": _COMPONENTS.format(name=name)}


def _is_list(schema: dict[str, Any]) -> bool:
    return schema.get("type") == "array"


def _describe_fields(schema: dict[str, Any], docs: dict[str, str]) -> None:
    for name, about in schema.get("properties", {}).items():
        if name in docs:
            about["description"] = docs[name]


def _all_structs(kinds: Iterable[Any]) -> list[type[msgspec.Struct]]:
    """These structs, and those of which their fields are."""
    found: dict[type[msgspec.Struct], None] = {}

    def walk(info: msgspec.inspect.Type) -> None:
        match info:
            case msgspec.inspect.StructType(cls=kind) if kind not in found:
                found[kind] = None
                for field in info.fields:
                    walk(field.type)
            case msgspec.inspect.UnionType(types=types):
                for each in types:
                    walk(each)
            case msgspec.inspect.ListType(item_type=item) | msgspec.inspect.VarTupleType(item_type=item):
                walk(item)
            case _:
                pass

    for info in msgspec.inspect.multi_type_info(kinds):
        walk(info)
    return list(found)


def field_docs(kind: type[msgspec.Struct]) -> dict[str, str]:
    """The docstrings behind a struct's fields, those of its bases included."""
    docs: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        module = inspect.getmodule(base)
        if module is not None and issubclass(base, msgspec.Struct) and base is not msgspec.Struct:
            docs |= _docs_of_module(module).get(base.__name__, {})
    return docs


@functools.cache
def _docs_of_module(module: ModuleType) -> dict[str, dict[str, str]]:
    """By class and field; a docstring belongs to the field before it."""
    classes = [node for node in ast.parse(inspect.getsource(module)).body if isinstance(node, ast.ClassDef)]
    docs: dict[str, dict[str, str]] = {}
    for node in classes:
        fields = docs.setdefault(node.name, {})
        for field, text in zip(node.body, node.body[1:], strict=False):
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(field.target, ast.Name)
                and isinstance(text, ast.Expr)
                and isinstance(text.value, ast.Constant)
            ):
                fields[field.target.id] = " ".join(str(text.value.value).split())
    return docs
