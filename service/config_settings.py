"""What the configuration models say about themselves: every setting, in words. Errors, templates and docs use this."""

from __future__ import annotations

import types
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

import annotated_types as at
import yaml
from pydantic import BaseModel, TypeAdapter
from pydantic.fields import FieldInfo

from service.config_errors import Loc

_AS_WRITTEN: Final[TypeAdapter[Any]] = TypeAdapter(Any)
_UNITS: Final[tuple[tuple[str, str], ...]] = (
    ("requests_per_s", "in requests per second"),
    ("usd_per_min", "in USD per minute"),
    ("usd_per_hour", "in USD per hour"),
    ("_usd", "in USD"),
    ("alarm_per_key_week", "alarms per key and week"),
    ("_s", "in seconds"),
    ("_h", "in hours"),
    ("_days", "in days"),
    ("_bytes", "in bytes"),
    ("_share", "1 being all"),
    ("_ratio", "1 being all"),
    ("_windows", "windows of 10 minutes"),
)


@dataclass(frozen=True)
class Setting:
    """One setting as people meet it."""

    path: tuple[str, ...]  # `<name>` stands for a name of one's own, `[]` for each item of a list
    expected: str
    default: str  # as YAML; "required" when there is none
    meaning: str

    @property
    def key(self) -> str:
        return ".".join(self.path).replace(".[]", "[]")


def settings_of(model: type[BaseModel], path: tuple[str, ...] = ()) -> Iterator[Setting]:
    """Every setting of a file, sections opened, in the order of the model."""
    for info_name, info in model.model_fields.items():
        name = info.alias or info_name
        here = (*path, name)
        section, each = section_of(info.annotation)
        if section is None or each:
            yield Setting(here, expected_of(info, name), default_of(info), meaning_of(info))
        if section is not None:
            yield from settings_of(section, (*here, each) if each else here)


def section_of(annotation: Any) -> tuple[type[BaseModel] | None, str]:  # noqa: ANN401 - a type, any
    """The model inside an annotation, and what stands between: nothing, `<name>` or `[]`."""
    inner, _ = _bare(annotation)
    if isinstance(inner, type) and issubclass(inner, BaseModel):
        return inner, ""
    if get_origin(inner) in (dict, tuple):
        each = get_args(inner)[1 if get_origin(inner) is dict else 0]
        item, _ = _bare(each)
        if isinstance(item, type) and issubclass(item, BaseModel):
            return item, "<name>" if get_origin(inner) is dict else "[]"
    return None, ""


def field_at(model: type[BaseModel], loc: Loc) -> tuple[Any, tuple[Any, ...]]:
    """Type and bounds of what stands at a path; (None, ()) when nothing is known of it."""
    annotation: Any = model
    bounds: tuple[Any, ...] = ()
    for part in loc:
        inner, _ = _bare(annotation)
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            info = next((i for n, i in inner.model_fields.items() if part == (i.alias or n)), None)
            if info is None:
                return None, ()
            annotation, bounds = info.annotation, tuple(info.metadata)
        elif get_origin(inner) in (dict, tuple):
            annotation, bounds = get_args(inner)[1 if get_origin(inner) is dict else 0], ()
        else:
            return None, ()
    return annotation, bounds


def place_of(model: type[BaseModel], loc: Loc) -> Loc:
    """The path of a mistake as people write it: of a setting of several types pydantic names the type, too."""
    ends = (end for end in range(len(loc)) if len(_alternatives(field_at(model, loc[:end])[0])) > 1)
    return loc[: next(ends, len(loc))]


def names_at(model: type[BaseModel], loc: Loc) -> tuple[str, ...]:
    """The settings a section has."""
    inner, _ = _bare(field_at(model, loc)[0])
    if isinstance(inner, type) and issubclass(inner, BaseModel):
        return tuple(info.alias or name for name, info in inner.model_fields.items())
    return ()


def expected_at(model: type[BaseModel], loc: Loc) -> str:
    """What may stand at a path, in words and with its unit."""
    annotation, bounds = field_at(model, loc)
    name = next((part for part in reversed(loc) if isinstance(part, str)), "")
    return _with_unit(describe(annotation, bounds), name)


def expected_of(info: FieldInfo, name: str) -> str:
    return _with_unit(describe(info.annotation, tuple(info.metadata)), name)


def default_of(info: FieldInfo) -> str:
    """As one would write it in YAML."""
    if info.is_required():
        return "required"
    default = info.get_default(call_default_factory=True)
    if isinstance(default, tuple | dict) and not default:
        return "none"
    return as_yaml(default)


def as_yaml(value: Any) -> str:  # noqa: ANN401 - whatever a default is
    """On one line; of a section only what differs from its defaults."""
    plain = _AS_WRITTEN.dump_python(value, exclude_defaults=True, mode="json")
    text = str(yaml.safe_dump(plain, default_flow_style=True, sort_keys=False, width=1000))
    return text.removesuffix("...\n").strip()


def meaning_of(info: FieldInfo) -> str:
    """The docstring under the setting; for a section, that of its class."""
    section, _ = section_of(info.annotation)
    text = info.description or (section.__doc__ if section else "") or ""
    return " ".join(text.split())


def describe(annotation: Any, bounds: tuple[Any, ...] = ()) -> str:  # noqa: ANN401 - a type, any
    """A type in words.

    >>> describe(Annotated[int, at.Ge(1), at.Le(9)]), describe(float | None, (at.Gt(0),)), describe(tuple[str, ...])
    ('a whole number from 1 to 9', 'a number above 0, or null', 'a list of text')
    >>> describe(Literal["all", "none"] | float)
    'one of all, none, or a number'
    """
    several = _alternatives(annotation)
    if len(several) > 1:
        return ", or ".join(describe(each) for each in several)
    inner, more = _bare(annotation)
    words = _words(inner, (*bounds, *more))
    nullable = get_origin(annotation) in (Union, types.UnionType) and type(None) in get_args(annotation)
    return f"{words}, or null" if nullable else words


def _alternatives(annotation: Any) -> list[Any]:  # noqa: ANN401 - a type, any
    """What may stand there, of one that may be of several types; null is none of them."""
    union = get_origin(annotation) in (Union, types.UnionType)
    return [each for each in get_args(annotation) if each is not type(None)] if union else []


def _words(inner: Any, bounds: tuple[Any, ...]) -> str:  # noqa: ANN401 - a type, any
    if inner in (int, float):
        return ("a whole number" if inner is int else "a number") + _range(bounds)
    not_empty = any(isinstance(b, at.MinLen) for b in bounds)
    moment = "a time (RFC 3339) or a date"
    plain = {bool: "true or false", str: "text, not empty" if not_empty else "text", datetime: moment}.get(inner)
    if plain:
        return plain
    origin, args = get_origin(inner), get_args(inner)
    if origin is Literal:
        return f"one of {', '.join(map(str, args))}"
    if origin is tuple:
        return f"a list{', not empty,' if not_empty else ''} of {_plural(args[0])}"
    if origin is dict:
        return "named sections" if section_of(inner)[0] else f"lines of `name: {describe(args[1])}`"
    return "a section with settings"


def _plural(annotation: Any) -> str:  # noqa: ANN401 - a type, any
    section, _ = section_of(annotation)
    return "sections" if section else describe(annotation)


def _range(bounds: tuple[Any, ...]) -> str:
    low = next((f" above {b.gt:g}" for b in bounds if isinstance(b, at.Gt)), "")
    low = next((f" from {b.ge:g}" for b in bounds if isinstance(b, at.Ge)), low)
    high = next((f" below {b.lt:g}" for b in bounds if isinstance(b, at.Lt)), "")
    high = next((f" to {b.le:g}" for b in bounds if isinstance(b, at.Le)), high)
    if low and high:
        return low + {" below": " and", " above": " up"}.get(high[:6] if " below" in high else low[:6], "") + high
    return low + (high or (" up" if "from" in low else ""))


def _with_unit(words: str, name: str) -> str:
    if "number" not in words:
        return words
    unit = next((unit for ending, unit in _UNITS if f"_{name}".endswith(ending)), "")
    return f"{words}, {unit}" if unit else words


def _bare(annotation: Any) -> tuple[Any, tuple[Any, ...]]:  # noqa: ANN401 - a type, any
    """The type without `| None` and Annotated, and the bounds they held."""
    bounds: tuple[Any, ...] = ()
    while True:
        if get_origin(annotation) is Annotated:
            annotation, *extra = get_args(annotation)
            for item in extra:
                bounds += tuple(item.metadata) if isinstance(item, FieldInfo) else (item,)
        elif get_origin(annotation) in (Union, types.UnionType):
            annotation = next(arg for arg in get_args(annotation) if arg is not type(None))
        else:
            return annotation, bounds
