"""AWS's own description of IAM, as it comes with its client, held against answers of the Query API.

What is asked the client checks itself, by the same description. Of an answer it reads what it knows and passes over the
rest; here the rest is a deviation.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from xml.etree import ElementTree as ET

from botocore.loaders import create_loader
from botocore.model import ListShape, ServiceModel, Shape, StructureShape
from botocore.parsers import create_parser


@functools.cache
def iam() -> ServiceModel:
    return ServiceModel(create_loader().load_service_model("iam", "service-2"), "iam")


def wrong_in_answer(action: str, status: int, body: bytes) -> list[str]:
    """Every way in which an answer is not as described."""
    if action not in iam().operation_names:
        return [f"{action}: AWS describes no such call"]
    if status >= 300:  # errors are moto's, in its own form: they must say what AWS's client can read
        answer = {"status_code": status, "headers": {}, "body": body}
        told = create_parser("query").parse(answer, Shape("none", {"type": "string"})).get("Error", {})
        return [] if told.get("Code") else [f"{action}: answer {status}: no code that the client can read"]
    return [f"{action}: answer {status}: {words}" for words in _wrong(action, ET.fromstring(body))]


def _wrong(action: str, root: ET.Element) -> Iterator[str]:
    shape = iam().operation_model(action).output_shape
    parts = {_name(child): child for child in root}
    if _name(root) != f"{action}Response" or "ResponseMetadata" not in parts:
        yield "is not AWS's form of an answer"
    result = parts.get(f"{action}Result")
    if (result is None) != (shape is None):
        yield "has a result" if shape is None else "has no result"
    elif shape is not None and result is not None:
        yield from _of(shape, result, "result")


def _of(shape: Shape, element: ET.Element, where: str) -> Iterator[str]:
    if isinstance(shape, StructureShape):
        yield from _of_structure(shape, element, where)
    elif isinstance(shape, ListShape):
        for child in element:
            yield from _of(shape.member, child, f"{where}[]")
    elif (enum := shape.metadata.get("enum")) and element.text not in enum:
        yield f"{where}: {element.text!r} is not one of {', '.join(enum)}"


def _of_structure(shape: StructureShape, element: ET.Element, where: str) -> Iterator[str]:
    found = {_name(child): child for child in element}
    for name in shape.required_members:
        if name not in found:
            yield f"{where}: {name} is missing"
    for name, child in found.items():
        if name not in shape.members:
            yield f"{where}: {name} is not described"
        else:
            yield from _of(shape.members[name], child, f"{where}.{name}")


def _name(element: ET.Element) -> str:
    return element.tag.rpartition("}")[2]
