"""The configuration in force as rows of a table: what decides about findings and cuts, no wiring. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import orjson
from pydantic import BaseModel

from service.config_settings import settings_of
from service.config_tree import FILES, Folder

_PARTS: Final = ("detectors", "responses", "budgets", "policies")


class Shown(NamedTuple):
    """One setting."""

    name: str  # with its file: "detectors.yaml velocity.hour_weight"
    value: str
    changed: bool  # it is not the default
    meaning: str


def shown(folder: Folder) -> list[Shown]:
    """Every setting of the files that decide, in their order."""
    rows = []
    for file in FILES:
        if file.part not in _PARTS:
            continue
        meanings = {setting.key: setting.meaning for setting in settings_of(file.model)}
        default = dict(_leaves(file.model()))
        for name, value in _leaves(getattr(folder, file.part)):
            rows.append(Shown(f"{file.name} {name}", _words(value), value != default.get(name), meanings.get(name, "")))
    return rows


def _leaves(model: BaseModel, path: str = "") -> Iterator[tuple[str, Any]]:
    """Each setting by its dotted name; what people name themselves stays together as one value."""
    for name, info in type(model).model_fields.items():
        value, here = getattr(model, name), f"{path}{info.alias or name}"
        if isinstance(value, BaseModel):
            yield from _leaves(value, f"{here}.")
        else:
            yield here, value


def _words(value: Any) -> str:  # noqa: ANN401 - any setting's value
    if value is None:
        return "off"
    text = value if isinstance(value, str) else orjson.dumps(value, default=_plain).decode()
    return text if len(text) <= 400 else f"{text[:399]}…"


def _plain(value: Any) -> Any:  # noqa: ANN401 - what orjson does not know
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_unset=True)
    return str(value)
