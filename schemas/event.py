"""One use of one key, normalised: the single truth of what a valid usage event is."""

from __future__ import annotations

import math
from datetime import datetime
from ipaddress import ip_address
from typing import Annotated, Any, Final, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator

MIN_TS_MS: Final = 1_420_070_400_000  # 2015-01-01: older clocks are broken clocks
MAX_TS_MS: Final = 4_102_444_800_000  # 2100-01-01
MAX_TOKENS: Final = 10_000_000_000
MAX_REQUESTS: Final = 1_000_000_000
MAX_COST_USD: Final = 1_000_000.0
MAX_TEXT: Final = 256
NANO: Final = 1_000_000_000
_EPOCH_MS_FROM: Final = 100_000_000_000  # a larger number is milliseconds, a smaller one seconds


class TimeOutOfRange(ValueError):
    """A time, well written, that no working clock shows."""


def parse_ts_ms(value: object) -> int:
    """Milliseconds since the epoch from RFC 3339 text (with an offset) or epoch seconds or milliseconds.

    >>> parse_ts_ms("2026-11-23T10:00:00Z") == parse_ts_ms(1795428000) == parse_ts_ms(1795428000000)
    True
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("expected RFC 3339 text or epoch seconds or milliseconds")
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError("not an RFC 3339 time") from None
        if moment.tzinfo is None:
            raise ValueError("the time has no offset (write ...Z or ...+02:00)")
        ts_ms = round(moment.timestamp() * 1000)
    else:
        if not math.isfinite(value):
            raise ValueError("the time is not a finite number")
        ts_ms = round(value * 1000) if abs(value) < _EPOCH_MS_FROM else round(value)
    if not MIN_TS_MS <= ts_ms < MAX_TS_MS:
        raise TimeOutOfRange("the time is not between 2015 and 2100")
    return ts_ms


def app_of(text: str) -> str:
    """The app in what an event calls its app: what stands behind a slash is the feature of it that asked.

    >>> app_of("web/search"), app_of("web")
    ('web', 'web')
    """
    return text.split("/", 1)[0] or text


def _ip(value: object) -> object:
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise ValueError("expected an IP address as text")
    ip_address(value)
    return value


def _text(value: object) -> object:
    if isinstance(value, str) and "\x00" in value:
        raise ValueError("holds a NUL byte")
    return value


Text = Annotated[str, BeforeValidator(_text), Field(max_length=MAX_TEXT)]
Name = Annotated[str, BeforeValidator(_text), Field(min_length=1, max_length=MAX_TEXT)]
Tokens = Annotated[int, Field(ge=0, le=MAX_TOKENS, strict=True)]


class OfOneKey(BaseModel):
    """What is sent to us about one key: unknown fields are ignored, `null` is absent, exactly one name is given."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    key_id: Name | None = None
    key: SecretStr | None = Field(default=None, repr=False, min_length=1, max_length=4096)

    @model_validator(mode="before")
    @classmethod
    def _nulls_are_absent(cls, data: Any) -> Any:  # noqa: ANN401 - whatever JSON holds
        if not isinstance(data, dict):
            raise ValueError("expected an object")
        return {name: value for name, value in data.items() if value is not None}

    @model_validator(mode="after")
    def _one_key(self) -> Self:
        if (self.key_id is None) == (self.key is None):
            raise ValueError("give exactly one of key_id and key")
        return self


class UsageEvent(OfOneKey):
    """One request by one key, or one provider bucket of `requests` > 1.

    Unknown fields are ignored; a wrong type or a negative count is refused with the field's name.
    Exactly one of `key_id` and `key` is given; `key` is a secret and is fingerprinted and dropped at the edge.
    """

    event_id: Name
    ts: Annotated[int, BeforeValidator(parse_ts_ms)]
    provider: Name
    model: Name
    endpoint: Text | None = None
    requests: Annotated[int, Field(ge=1, le=MAX_REQUESTS, strict=True)] = 1
    input_tokens: Tokens = 0
    cached_input_tokens: Tokens = 0
    cache_write_tokens: Tokens = 0
    output_tokens: Tokens = 0
    reasoning_tokens: Tokens = 0
    cost_usd: Annotated[float, Field(ge=0, le=MAX_COST_USD, strict=True, allow_inf_nan=False)] | None = None
    status: Annotated[int, Field(ge=0, le=999, strict=True)] = 200
    error: Text | None = None
    latency_ms: Annotated[float, Field(ge=0, le=1e9, strict=True, allow_inf_nan=False)] | None = None
    ip: Annotated[str | None, BeforeValidator(_ip)] = None
    country: Text | None = None
    asn: Annotated[int, Field(ge=0, le=4_294_967_295, strict=True)] | None = None
    user_agent: Annotated[str, BeforeValidator(_text), Field(max_length=1024)] | None = None
    user_id: Text | None = None
    team: Text | None = None
    app: Text | None = None
    env: Text | None = None
