"""From the bytes of a request to what is asked, or every field that is wrong. A secret goes no further than here."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from typing import Annotated, Final, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_core import ErrorDetails

from gate.adapters.wire import PREFIX
from gate.decide import Used
from schemas.call import Call
from schemas.redact import looks_secret

Text = Annotated[str, Field(max_length=512)]
Tokens = Annotated[int, Field(ge=0, le=100_000_000)]


class Ask(BaseModel):
    """Strict, and an unknown field is an error: a misspelt limit would limit nothing."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class AuthorizeAsk(Ask):
    """`POST /v1/authorize`: what is known of the call. `key` or `key_id`, and as much of the rest as there is."""

    key: Annotated[SecretStr, Field(min_length=8, max_length=4096)] | None = None
    key_id: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    model: Text = ""
    endpoint: Text = ""
    input_tokens: Tokens | None = None
    input_bytes: Annotated[int, Field(ge=0, le=1_000_000_000)] | None = None
    max_output_tokens: Tokens | None = None
    ip: Text = ""
    country: Text = ""
    origin: Text = ""
    user_agent: Annotated[str, Field(max_length=4096)] = ""
    user_id: Text = ""
    requests: Annotated[int, Field(ge=0, le=10_000)] = 1
    """0: no call is made, only asked how the key stands."""


class SettleAsk(Ask):
    """`POST /v1/settle`: what the call came to. A call that was not made has no tokens."""

    reservation: Annotated[str, Field(min_length=1, max_length=256)]
    input_tokens: Tokens = 0
    output_tokens: Tokens = 0
    cost_usd: Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)] | None = None


class Wrong(NamedTuple):
    """One field that is wrong. Never what it holds: that may be a secret."""

    field: str
    detail: str


_BYTES_PER_TOKEN: Final = 3  # of English text about four: fewer, so that the estimate is rather too high


def authorize_of(body: bytes, *, fingerprint: Callable[[str], str], at_ms: int) -> Call | list[Wrong]:
    """The call, or all that is wrong with the request."""
    try:
        ask = AuthorizeAsk.model_validate_json(body)
    except ValidationError as error:
        return _wrong(error, AuthorizeAsk)
    if (ask.key is None) == (ask.key_id is None):
        return [Wrong("key", "expected one of key (the secret) and key_id, not both")]
    ours = False
    if ask.key is not None:
        secret = ask.key.get_secret_value()
        key_id, ours = fingerprint(secret), secret.startswith(PREFIX)
    else:
        key_id = ask.key_id or ""
        if not key_id.startswith("fp1:") and looks_secret(key_id):
            return [Wrong("key_id", "this looks like the secret itself: send it as key, it is fingerprinted at once")]
    tokens = ask.input_tokens
    if tokens is None:
        tokens = -(-(ask.input_bytes or 0) // _BYTES_PER_TOKEN)
    return Call(
        key_id, at_ms, ask.model, ask.endpoint, tokens, ask.max_output_tokens, ask.requests, ask.ip, ask.country,
        ask.origin, ask.user_agent, ask.user_id, ours,
    )  # fmt: skip


def settle_of(body: bytes) -> tuple[str, Used] | list[Wrong]:
    """The reservation and what the call came to, or all that is wrong."""
    try:
        ask = SettleAsk.model_validate_json(body)
    except ValidationError as error:
        return _wrong(error, SettleAsk)
    cost = None if ask.cost_usd is None else round(ask.cost_usd * 1e9)
    return ask.reservation, Used(ask.input_tokens, ask.output_tokens, cost)


def _wrong(error: ValidationError, model: type[Ask]) -> list[Wrong]:
    return [_one(each, model) for each in error.errors(include_url=False, include_input=False)]


def _one(error: ErrorDetails, model: type[Ask]) -> Wrong:
    field, kind = ".".join(map(str, error["loc"])), error["type"]
    if kind == "json_invalid" or not field:
        return Wrong("", f"expected one JSON object with the fields {', '.join(model.model_fields)}")
    if kind == "extra_forbidden":
        name = "(a name that looks like a secret)" if looks_secret(field) else field[:64]
        near = get_close_matches(field, model.model_fields, n=1)
        return Wrong(name, f"no such field{f'; did you mean {near[0]}?' if near else ''}")
    return Wrong(field, _words(kind, error["msg"]))


def _words(kind: str, message: str) -> str:
    match kind:
        case "missing":
            return "is missing"
        case "int_type" | "int_from_float":
            return "expected a whole number"
        case "string_type":
            return "expected text"
        case _:
            return message.replace("Input should", "should").replace("Value should", "should")
