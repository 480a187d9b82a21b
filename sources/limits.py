"""The bounds of the native event's fields, read from the event model itself so that they cannot drift from it."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from schemas.event import UsageEvent


class Limits(NamedTuple):
    """Of a number: its bounds; of a text: the bounds of its length. `absent` is what a missing value stands for."""

    low: float
    high: float
    absent: int | None = None
    optional: bool = True


def _limits(schema: dict[str, Any], *, required: bool) -> Limits:
    """Optional fields hold their bounds in the first branch of `anyOf`."""
    bounds = schema.get("anyOf", [schema])[0]
    text = bounds.get("type") == "string"
    low = bounds.get("minLength" if text else "minimum", 0)
    high = bounds.get("maxLength" if text else "maximum", float("inf"))
    return Limits(low, high, schema.get("default"), optional=not required)


def _all_limits() -> dict[str, Limits]:
    schema = UsageEvent.model_json_schema()
    return {name: _limits(of, required=name in schema["required"]) for name, of in schema["properties"].items()}


LIMITS: Final = _all_limits()
