"""Tables of cases for `keyfuse policy test`: calls, and what policies are to say of them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from schemas.config.base import Config
from schemas.config.detectors import Moment


def _listed(value: Any) -> Any:  # noqa: ANN401 - whatever the file has; what is wrong with it is told of the list
    return value if isinstance(value, list | tuple) or value is None else [value]


_AtLeastOne = Field(min_length=1)
Texts = Annotated[tuple[str, ...], BeforeValidator(_listed), _AtLeastOne]
Counts = Annotated[tuple[Annotated[int, Field(ge=0)], ...], BeforeValidator(_listed), _AtLeastOne]
Moments = Annotated[tuple[Moment, ...], BeforeValidator(_listed), _AtLeastOne]


class CallFields(Config):
    """A key and a call. Where a list stands each of its values is tried, with each of the others."""

    key: Texts | None = None
    """key_id; one of keys.yaml brings its team, app and environment along."""
    team: Texts | None = None
    """Team of the key ..."""
    app: Texts | None = None
    """... its application ..."""
    env: Texts | None = None
    """... and its environment."""
    model: Texts | None = None
    """Model that is asked for."""
    endpoint: Texts | None = None
    """Endpoint, like `/v1/chat/completions`."""
    ip: Texts | None = None
    """Address that the call comes from."""
    country: Texts | None = None
    """Country that it comes from, two capitals."""
    origin: Texts | None = None
    """Web origin of the page that makes it."""
    input_tokens: Counts | None = None
    """Length of what is sent."""
    max_output_tokens: Counts | None = None
    """Longest answer that is asked for."""
    at: Moments | None = None
    """When; a time without an offset is UTC."""


class CaseConfig(CallFields):
    """One row of the table."""

    name: str = Field(min_length=1)
    """What it is about; shown when it fails."""
    expect: Literal["allow", "deny"] | None = None
    """What a gate is to say."""
    rule: str = ""
    """With `deny`: the rule that says no, like `allowed_models`, or `development is cheap: allowed_models`."""
    reason: str = ""
    """With `deny`: a part of what whoever is refused is told."""
    ceilings: dict[str, float] = Field(default_factory=dict)
    """Ceilings that are to hold, like `requests_per_min: 60`; 0: there is none."""


class CasesConfig(Config):
    """A file of cases."""

    defaults: CallFields = CallFields()
    """Holds for every case that does not say otherwise."""
    cases: tuple[CaseConfig, ...]
    """The table."""
