"""`policies.yaml`: what a key may do."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Annotated, Final, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, Field, model_validator

from schemas.config.base import Config

_FROM: Final = r"^([01]\d|2[0-3]):[0-5]\d$"
_UNTIL: Final = r"^([01]\d|2[0-3]):[0-5]\d$|^24:00$"
Positive = Annotated[float, Field(gt=0)]
Country = Annotated[str, Field(pattern="^[A-Z]{2}$")]


def _network(value: str) -> str:
    """Raises ValueError, which the configuration's errors show, for what is no network."""
    ip_network(value)
    return value


def known_timezone(name: str) -> str:
    """Raises ValueError, which the configuration's errors show, for what the tz database does not know."""
    try:
        ZoneInfo(name)
    except (ValueError, OSError, ZoneInfoNotFoundError):
        raise ValueError(f"no timezone of that name: {name[:40]!r}") from None
    return name


Network = Annotated[str, AfterValidator(_network)]
Timezone = Annotated[str, AfterValidator(known_timezone)]


Patterns = Annotated[tuple[str, ...], Field(min_length=1)]
"""An empty list is refused: it could mean all as well as nothing."""


class HoursConfig(Config):
    """When a key may be used."""

    days: tuple[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"], ...] = ()
    """Days of the week; empty: all."""
    from_: Annotated[str, Field(alias="from", pattern=_FROM)] = "00:00"
    """Beginning, HH:MM."""
    until: Annotated[str, Field(pattern=_UNTIL)] = "24:00"
    """End, HH:MM, not included; before `from` it is on the next day."""
    timezone: Timezone = "UTC"
    """As the tz database names it, like Europe/Berlin."""

    @model_validator(mode="after")
    def _is_a_time_of_day(self) -> Self:
        if self.from_ == self.until:
            raise ValueError("hours that end when they begin; leave out from and until for the whole day")
        return self


class PolicyConfig(Config):
    """What the keys may do that match every scope given; an empty scope matches all, an empty rule allows all."""

    name: str = Field(min_length=1)
    """What findings and refusals call it."""
    keys: tuple[str, ...] = ()
    """key_ids. It holds for what takes over from one of them in a rotation, too."""
    apps: tuple[str, ...] = ()
    """Application names, as shell-style patterns."""
    teams: tuple[str, ...] = ()
    """Team names, as patterns."""
    envs: tuple[str, ...] = ()
    """Environment names, as patterns."""
    allowed_models: Patterns | None = None
    """Shell-style patterns, `gpt-4.1*`, or a family of `families`, `@small`. A model that matches none is refused."""
    denied_models: Patterns | None = None
    """The same, for models that are refused though allowed above."""
    allowed_endpoints: Patterns | None = None
    """Patterns, `/v1/chat/*`."""
    max_input_tokens: Annotated[int, Field(gt=0)] | None = None
    """Context of one request at most."""
    max_output_tokens: Annotated[int, Field(gt=0)] | None = None
    """Answer of one request at most; a call that asks for more is refused."""
    requests_per_s: Positive | None = None
    """Requests of one key at most ..."""
    requests_per_min: Annotated[int, Field(gt=0)] | None = None
    """... within a minute ..."""
    requests_per_day: Annotated[int, Field(gt=0)] | None = None
    """... and a day of UTC."""
    tokens_per_s: Positive | None = None
    """Tokens of one key at most ..."""
    tokens_per_min: Annotated[int, Field(gt=0)] | None = None
    """... within a minute ..."""
    tokens_per_day: Annotated[int, Field(gt=0)] | None = None
    """... and a day of UTC."""
    networks: Annotated[tuple[Network, ...], Field(min_length=1)] | None = None
    """Networks the key may be used from, CIDR like `10.0.0.0/8`."""
    countries: Annotated[tuple[Country, ...], Field(min_length=1)] | None = None
    """Countries it may be used from, two capitals each."""
    hours: HoursConfig | None = None
    """When it may be used."""


class PoliciesConfig(Config):
    """`policies.yaml`. A call must be allowed by every policy that matches the key; of two ceilings the lower holds."""

    families: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Models under one name, as patterns: `small: [gpt-4.1-mini*, claude-haiku-*]`; policies say `@small`."""

    unseen: Literal["refuse", "pass"] = "refuse"
    """What gates do with a call that does not say what a rule asks for: its model, endpoint, address, country, origin
    or most output tokens. nginx, for one, does not see the model: with `pass` such a call goes on, and is judged by its
    event."""

    exceptions_max_days: Annotated[float, Field(gt=0, le=31)] = 30
    """An exception lasts so long at most. Each ends by itself, and who still needs it asks again."""

    policies: tuple[PolicyConfig, ...] = ()
    """All policies."""
