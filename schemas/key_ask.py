"""A wish for a key: what whoever asks has to say, and the message that carries it to the identity stage."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Annotated, Any, Final, Literal, NamedTuple

from pydantic import AfterValidator, Field, ValidationError

from schemas.config.policies import Country, Network
from schemas.fingerprint import FINGERPRINT
from schemas.key_record import DataClass
from schemas.records import Record, Via
from schemas.redact import looks_secret, redact

RequestId = Annotated[str, Field(pattern=r"^[A-Za-z0-9._:-]{1,100}$")]
_Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,99}$")]
_Text = Annotated[str, Field(max_length=200)]
_Days = Annotated[float, Field(gt=0, le=36_500)]  # a century: what is longer is no date
_Usd = Annotated[float, Field(gt=0, le=1e9)]


def _no_secret(value: str) -> str:
    if looks_secret(value):
        raise ValueError("holds what looks like a secret")
    return value


class Problem(NamedTuple):
    """One thing that is wrong with a wish."""

    field: str  # as it is sent: `team`, `quota_usd_per_day`; empty when the whole is meant
    words: str


class KeyWish(Record):
    """What is asked for."""

    team: _Name
    app: _Name = "unknown"
    env: _Name
    purpose: Annotated[str, Field(min_length=8, max_length=500), AfterValidator(redact)]
    owner: Annotated[str, Field(pattern=r"^([A-Za-z0-9][A-Za-z0-9._@-]{0,99})?$")] = (
        ""  # as in people.yaml; whoever asks unless said
    )
    kind: Literal["virtual", "provider"] = "virtual"  # a key of Keyfuse's own, or a credential of a provider
    provider: _Text = ""  # of kind provider: its name in keyfuse.yaml
    place: Annotated[_Text, AfterValidator(_no_secret)] = ""  # of kind provider: where there, `proj_...`, an IAM user
    expires_days: _Days | None = None  # shorter than what the environment gives
    quota_usd_per_day: _Usd | None = None
    quota_requests_per_min: Annotated[int, Field(gt=0, le=1_000_000_000)] | None = None
    rotate_every_days: _Days | None = None
    scopes: Annotated[tuple[_Text, ...], Field(max_length=100)] = ()
    networks: Annotated[tuple[Network, ...], Field(max_length=100)] = ()
    countries: Annotated[tuple[Country, ...], Field(max_length=250)] = ()
    origins: Annotated[tuple[_Text, ...], Field(max_length=100)] = ()
    data_class: DataClass = "internal"
    backup: Annotated[_Text, AfterValidator(_no_secret)] = ""  # key_id that its users go on with when it is cut


class KeyAsk(Record):
    """A wish on its way. Of a virtual key the asker made the secret, and only its fingerprint comes along."""

    type: Literal["key_ask"] = "key_ask"
    request_id: RequestId
    at_ms: int
    by: _Name
    via: Via = "terminal"
    key_id: Annotated[str, Field(pattern=rf"^({FINGERPRINT.pattern})?$")] = ""  # of a virtual key
    last4: Annotated[str, Field(pattern="^[A-Za-z0-9]{0,4}$")] = ""
    seal_to: Annotated[str, Field(pattern="^([0-9a-f]{64})?$")] = ""  # X25519: whom a minted credential is sealed to
    wish: KeyWish


_NEEDED: Final[Mapping[str, str]] = {
    "team": "say which team answers for it",
    "env": "say in which environment it is used, like dev or prod",
    "purpose": "say what it is for, in a sentence",
}
_NAME: Final = "expected a name: letters, digits and . _ - @"
_EXPECTED: Final[Mapping[str, str]] = {
    "purpose": "expected 8 to 500 letters: somebody else has to understand it in a year",
    "kind": "expected virtual (Keyfuse's own key) or provider",
    "data_class": "expected public, internal, confidential or restricted",
    "networks": "expected networks in CIDR, like 10.0.0.0/8",
    "countries": "expected countries as two capitals each, like DE",
    "team": _NAME, "app": _NAME, "env": _NAME, "owner": _NAME,
    "expires_days": "expected days, more than 0, at most 36,500", "quota_usd_per_day": "expected USD, more than 0",
    "rotate_every_days": "expected days, more than 0, at most 36,500",
    "quota_requests_per_min": "expected a whole number, at least 1",
}  # fmt: skip


def wish_of(data: Mapping[str, Any]) -> KeyWish | list[Problem]:
    """The wish, or all that is wrong with it.

    >>> wish_of({"team": "search", "env": "dev", "purpos": "try prompts"})
    [Problem(field='purpose', words='say what it is for, in a sentence'), \
Problem(field='purpos', words='unknown; did you mean purpose?')]
    """
    try:
        return KeyWish.model_validate(data)
    except ValidationError as error:
        found = [_problem(each["type"], each["loc"], each["input"]) for each in error.errors(include_url=False)]
        return list(dict.fromkeys(found))


def _problem(kind: str, loc: tuple[str | int, ...], value: object) -> Problem:
    field = redact(str(loc[0])) if loc else ""
    if kind == "extra_forbidden":
        close = get_close_matches(field, KeyWish.model_fields, n=1)
        return Problem(field, f"unknown; did you mean {close[0]}?" if close else "unknown; leave it out")
    if kind == "missing" or value in ("", None):
        return Problem(field, _NEEDED.get(field, "it is empty: leave it out, or fill it in"))
    if looks_secret(str(value)):
        return Problem(field, "holds what looks like a secret (not shown)")
    return Problem(field, f"{_EXPECTED.get(field, 'expected something else')}; found {_shown(value)}")


def _shown(value: object) -> str:
    text = redact(str(value))
    return f'"{text[:60]}…"' if len(text) > 60 else f'"{text}"'
