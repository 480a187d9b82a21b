"""Foreign formats, one pure parser per file, found by introspection.

A module here is a format when it has NAME, `recognises(doc)` and `parse(doc)`. `parse` never raises: what it cannot
read it hands on or leaves out, and the event model names the bad field. Only fields of the native event come out,
so prompts and answers are never carried on.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pkgutil import iter_modules
from types import MappingProxyType
from typing import Any, Final, Protocol, cast


class Format(Protocol):
    NAME: str

    def recognises(self, doc: dict[str, Any]) -> bool: ...
    def parse(self, doc: dict[str, Any]) -> dict[str, Any]: ...


NATIVE: Final = "native"


def _discover() -> Mapping[str, Format]:
    modules = [import_module(f"{__name__}.{module.name}") for module in iter_modules(__path__)]
    formats = {module.NAME: cast("Format", module) for module in modules if hasattr(module, "NAME")}
    ordered = sorted(formats, key=lambda name: (name != NATIVE, name))  # native wins where two recognise a record
    return MappingProxyType({name: formats[name] for name in ordered})


FORMATS: Final = _discover()


def detect(doc: dict[str, Any]) -> Format | None:
    """The first format that recognises the shape of the record, native first; None when none does."""
    return next((known for known in FORMATS.values() if known.recognises(doc)), None)
