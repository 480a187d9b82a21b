"""What people ask of exceptions, on its way to the identity stage, which judges it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from schemas.exception import RuleKind
from schemas.records import Record, Via
from schemas.redact import redact


class ExceptionAsk(Record):
    """Somebody wants a rule lifted. The same request makes one exception."""

    type: Literal["exception_ask"] = "exception_ask"
    request_id: str = Field(min_length=1)
    at_ms: int
    by: str
    via: Via = "terminal"
    rule: RuleKind
    of: str = ""
    allows: tuple[str, ...] = ()
    limit: float | None = None
    keys: tuple[str, ...] = ()
    teams: tuple[str, ...] = ()
    apps: tuple[str, ...] = ()
    envs: tuple[str, ...] = ()
    times: float = 10.0
    from_ms: int
    until_ms: int
    reason: Annotated[str, AfterValidator(redact)] = ""
    owner: str = ""  # empty: who asks


class ExceptionEnd(Record):
    """Somebody wants an exception over before its time: the rule holds again."""

    type: Literal["exception_end"] = "exception_end"
    exception_id: str
    at_ms: int
    by: str
    via: Via = "terminal"
    reason: Annotated[str, AfterValidator(redact)] = ""
