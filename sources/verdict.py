"""One event through the pydantic model: the one truth of what is valid, and what names the bad field."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from schemas.event import TimeOutOfRange, UsageEvent
from schemas.records import DeadReason
from sources.envelope import Refusal
from sources.formats import FORMATS, detect


def to_native(doc: object, forced: str | None) -> dict[str, Any] | tuple[DeadReason, str]:
    """The event in native shape, not yet checked; or why its shape is unknown."""
    if not isinstance(doc, dict):
        return DeadReason.UNKNOWN_FORMAT, "expected an object"
    known = FORMATS.get(forced) if forced is not None else detect(doc)
    if known is None:
        names = ", ".join(FORMATS)
        asked = "the record's format header names none" if forced is not None else "the shape is none"
        return DeadReason.UNKNOWN_FORMAT, f"{asked} of the known formats: {names}"
    return known.parse(doc)


def judge(doc: dict[str, Any], index: int, latest_ms: int | None) -> UsageEvent | Refusal:
    """The valid event, or the first thing wrong with it. `latest_ms` is the newest time taken, None for any."""
    try:
        event = UsageEvent.model_validate(doc)
    except ValidationError as error:
        return refusal(error.errors(include_url=False)[0], index)
    if latest_ms is not None and event.ts > latest_ms:
        return Refusal(index, DeadReason.TIME_OUT_OF_RANGE, "ts", "the time is too far in the future")
    return event


def given(event: UsageEvent) -> dict[str, Any]:
    """Only what the producer sent; what it left out keeps its meaning. The time is in milliseconds."""
    fields = {name: getattr(event, name) for name in event.model_fields_set}
    if event.key is not None:
        fields["key"] = event.key.get_secret_value()
    return fields


def refusal(error: ErrorDetails, index: int) -> Refusal:
    """What is wrong with one field. Only fixed texts: a message that quotes the input may quote a secret."""
    field = str(error["loc"][0]) if error["loc"] else "key_id"
    if isinstance(error.get("ctx", {}).get("error"), TimeOutOfRange):
        return Refusal(index, DeadReason.TIME_OUT_OF_RANGE, field, "the time is not between 2015 and 2100")
    detail = "expected an IPv4 or IPv6 address" if field == "ip" else error["msg"].removeprefix("Value error, ")
    return Refusal(index, DeadReason.INVALID_FIELD, field, detail)
