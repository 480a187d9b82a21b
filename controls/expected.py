"""What an exception lets people expect of a key: detectors take it for announced. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from glob import escape
from typing import Final

from schemas.config.detectors import AnnouncedConfig
from schemas.exception import PolicyException, RuleKind
from schemas.records import EXPECTED_FAMILIES, Family

_OTHER_MODELS: Final[tuple[Family, ...]] = ("mix", "economics")
_ELSEWHERE: Final[tuple[Family, ...]] = ("origin",)
_SHOWS_IN: Final[Mapping[RuleKind, tuple[Family, ...]]] = {
    "models": _OTHER_MODELS, "endpoints": _OTHER_MODELS, "networks": _ELSEWHERE, "countries": _ELSEWHERE,
    "origins": _ELSEWHERE, "hours": ("rhythm",), "max_input_tokens": ("velocity", "economics"),
    "max_output_tokens": ("velocity", "economics"),
}  # fmt: skip
"""By what was lifted: the families that see it. More use than usual shows where a launch shows."""


def expected_of(exceptions: Iterable[PolicyException]) -> tuple[AnnouncedConfig, ...]:
    """Announced times, one for each exception that was approved and is for some keys."""
    return tuple(
        _announced(one)
        for one in exceptions
        if one.state == "active" and (one.keys or one.teams or one.apps or one.envs)
    )


def _announced(one: PolicyException) -> AnnouncedConfig:
    named = {
        "what": f"exception {one.exception_id}", "owner": one.owner, "reason": one.reason, "times": one.times,
        "keys": tuple(escape(key_id) for key_id in one.keys), "teams": one.teams, "apps": one.apps, "envs": one.envs,
        "from": datetime.fromtimestamp(one.from_ms / 1000, UTC),
        "until": datetime.fromtimestamp(one.until_ms / 1000, UTC),
        "families": _SHOWS_IN.get(one.rule, EXPECTED_FAMILIES),
    }  # fmt: skip
    return AnnouncedConfig.model_validate(named)


def raised(exceptions: Iterable[PolicyException], budget: str, at_ms: int) -> tuple[float | None, float | None]:
    """USD and tokens that exceptions set for a budget now, the greatest of each; None where none does."""
    mine = [one for one in exceptions if one.of == budget and one.holds(at_ms)]
    usd = [one.limit or 0.0 for one in mine if one.rule == "budget_usd"]
    tokens = [one.limit or 0.0 for one in mine if one.rule == "budget_tokens"]
    return max(usd, default=None), max(tokens, default=None)
