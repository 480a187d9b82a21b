"""A provider's own description of its API (OpenAPI 3), to hold requests and answers against.

The schemas are judged by `jsonschema`. They are closed first: a field that the description does not know is a
deviation, or neither an adapter that asks for something invented nor a server that answers it would be noticed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl

from jsonschema import Draft202012Validator

METHODS: Final = frozenset({"get", "put", "post", "delete", "patch"})
_DECODED: Final = {"integer", "number", "boolean"}


class Operation(NamedTuple):
    """One path and method, and what may go either way."""

    words: str
    path: re.Pattern[str]
    literal: int  # how much of the path is fixed: the most of it wins where two fit
    query: Mapping[str, Mapping[str, Any]]
    needed: frozenset[str]  # of the query
    bodies: Mapping[str, Mapping[str, Any]]  # by content type; empty: none is taken
    answers: Mapping[str, Mapping[str, Any]]  # by status: `content`, or nothing


class Description:
    """Operations and the schemas they share. `prefix` is where a local server has the description's paths."""

    def __init__(self, document: Mapping[str, Any], *, prefix: str = "") -> None:
        self._schemas = {name: closed(schema) for name, schema in document["components"]["schemas"].items()}
        self._operations: dict[str, list[Operation]] = {}
        for path, methods in document["paths"].items():
            for method in METHODS & methods.keys():
                made = _operation(method, prefix + path, methods[method], methods.get("parameters", ()))
                self._operations.setdefault(method, []).append(made)

    def find(self, method: str, path: str) -> Operation | None:
        """The operation that is asked for; None: the description has no such path, or not with this method."""
        fitting = [each for each in self._operations.get(method.lower(), ()) if each.path.fullmatch(path)]
        return max(fitting, key=lambda each: each.literal, default=None)

    def wrong_in_request(self, operation: Operation, query: str, content_type: str, body: bytes) -> list[str]:
        """Every way in which a request is not as described."""
        return [
            f"{operation.words}: {words}"
            for words in (*_wrong_query(operation, query), *self._wrong_body(operation, content_type, body))
        ]

    def wrong_in_answer(self, operation: Operation, status: int, content_type: str, body: bytes) -> list[str]:
        """Every way in which an answer is not as described. An error that is not described at all may look any way."""
        described = operation.answers.get(str(status), operation.answers.get("default"))
        where = f"{operation.words}: answer {status}"
        if described is None:
            return [] if status >= 400 else [f"{where} is not described"]
        content = described.get("content") or {}
        if not content:
            return [] if status >= 400 or not body else [f"{where} has a body"]
        return [f"{where}: {words}" for words in self._wrong_content(content, content_type, body)]

    def _wrong_body(self, operation: Operation, content_type: str, body: bytes) -> list[str]:
        if not operation.bodies:
            return ["a body is sent"] if body else []
        return [f"body: {words}" for words in self._wrong_content(operation.bodies, content_type, body)]

    def _wrong_content(self, content: Mapping[str, Any], content_type: str, body: bytes) -> list[str]:
        kind = content_type.partition(";")[0].strip().lower()
        found = content.get(kind, content.get("*/*"))
        if found is None:
            return [f"content type {kind!r} is not one of {', '.join(content)}"]
        try:
            value = json.loads(body)
        except ValueError:
            return ["is not JSON"]
        return list(self._wrong(found.get("schema") or {}, value))

    def _wrong(self, schema: Mapping[str, Any], value: object) -> Iterator[str]:
        validator = Draft202012Validator({**closed(schema), "components": {"schemas": self._schemas}})
        for error in validator.iter_errors(value):
            yield f"{error.json_path}: {error.message}"


def closed(schema: Any, *, naming: bool = False) -> Any:
    """The same schema, refusing properties that it does not name, in the words of JSON Schema 2020-12.

    `naming`: it maps names, which may be any, to schemas.

    >>> closed({"properties": {"a": {"type": "string", "nullable": True}}})["properties"]["a"]
    {'type': ['string', 'null']}
    """
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if naming:
        return {name: closed(each) for name, each in schema.items()}
    kept = {name: each for name, each in schema.items() if name not in {"nullable", "example", "examples"}}
    made = {name: closed(each, naming=name == "properties") for name, each in kept.items()}
    if schema.get("nullable") is True and isinstance(schema.get("type"), str):  # OpenAPI 3.0
        made["type"] = [schema["type"], "null"]
    if isinstance(made.get("properties"), dict) and made.get("additionalProperties", True) is True:
        made.pop("additionalProperties", None)
        made["unevaluatedProperties"] = False
    return made


def _operation(method: str, path: str, described: Mapping[str, Any], shared: object) -> Operation:
    parts = re.split(r"(\{[^}]*\})", path)
    pattern = "".join("[^/]+" if part.startswith("{") else re.escape(part) for part in parts)
    given = [*(shared if isinstance(shared, list) else ()), *described.get("parameters", ())]
    query = {each["name"]: each for each in given if each["in"] == "query"}
    return Operation(
        words=f"{method.upper()} {path}",
        path=re.compile(pattern),
        literal=sum(len(part) for part in parts if not part.startswith("{")),
        query={name: closed(each.get("schema", {})) for name, each in query.items()},
        needed=frozenset(name for name, each in query.items() if each.get("required")),
        bodies=described.get("requestBody", {}).get("content", {}),
        answers=described.get("responses", {}),
    )


def _wrong_query(operation: Operation, query: str) -> Iterator[str]:
    sent = dict(parse_qsl(query, keep_blank_values=True))
    for name in sorted(operation.needed - sent.keys()):
        yield f"query {name} is missing"
    for name, text in sent.items():
        if name not in operation.query:
            yield f"query {name} is not described"
            continue
        schema = operation.query[name]
        for error in Draft202012Validator(schema).iter_errors(_decoded(text, schema.get("type"))):
            yield f"query {name}: {error.message}"


def _decoded(text: str, kind: object) -> object:
    try:
        return json.loads(text) if kind in _DECODED else text
    except ValueError:
        return text
