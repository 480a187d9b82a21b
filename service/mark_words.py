"""Marks and announced times in words: what each changes, and what is left of it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

import numpy as np

from alerting.words import clean
from detectors.explain import number
from detectors.grants import CONFIRMED_MS, FAMILIES, MOST, MOST_OF_COHORT, Grant, effect, granted
from detectors.grants import announced as granted_by
from schemas.config.detectors import AnnouncedConfig
from schemas.records import Mark, rfc3339

_SPAN: Final = re.compile(r"(\d{1,4})\s*(m|min|h|d)")
_UNIT_MS: Final = {"m": 60_000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}
_VERDICTS: Final = {"true": "true alarm", "false_positive": "false positive", "expected": "expected"}


def moment_ms(text: str, now_ms: int) -> int:
    """A time (RFC 3339), a date (its first moment), or a span from now; UTC where no offset is given.

    >>> moment_ms("2026-11-23T10:00:00Z", 0), moment_ms("1970-01-02", 0), moment_ms("90m", 1000)
    (1795428000000, 86400000, 5401000)

    Raises:
        ValueError: the text is none of these.
    """
    span = _SPAN.fullmatch(text.strip())
    if span:
        return now_ms + int(span[1]) * _UNIT_MS[span[2]]
    moment = datetime.fromisoformat(text.strip())
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def counts(grant: Grant | None, now_ms: int) -> bool:
    """Whether it changes something now or will later."""
    return grant is not None and now_ms < grant.until_ms


def mark_block(mark: Mark, now_ms: int) -> str:
    """One mark as `keyfuse marks` shows it."""
    of = f", incident {clean(mark.incident_id, 80)}" if mark.incident_id else ""
    spoken_of = [f"  time    {minute(mark.from_ms)} to {minute(mark.until_ms)}"] if mark.scope == "key" else []
    return "\n".join(
        [
            f"{_VERDICTS[mark.verdict]}, said by {clean(mark.by, 80)} on {minute(mark.at_ms)}: {clean(mark.reason)}",
            f"  mark    {clean(mark.mark_id, 80)}",
            f"  {mark.scope:<6}  {clean(mark.key_id)}{of}",
            *spoken_of,
            f"  effect  {effect_words(mark, now_ms)}",
        ]
    )


def announced_block(window: AnnouncedConfig, now_ms: int) -> str:
    """One announced time as `keyfuse marks` shows it."""
    named = (("keys", window.keys), ("teams", window.teams), ("apps", window.apps), ("envs", window.envs))
    scope = "; ".join(f"{name} {', '.join(wanted)}" for name, wanted in named if wanted) or "every key"
    return "\n".join(
        [
            f"announced by {clean(window.owner, 80)} in detectors.yaml: {clean(window.what)}, {clean(window.reason)}",
            f"  of      {clean(scope)}",
            f"  effect  {_expected_words(granted_by(window), now_ms)}",
        ]
    )


def effect_words(mark: Mark, now_ms: int) -> str:
    """What the mark changes now, and until when."""
    if mark.withdrawn:
        return f"none: withdrawn by {clean(mark.withdrawn_by, 80)}: {clean(mark.withdrawn_because)}"
    grant = granted(mark)
    if grant is None:
        return "none: a label, for backtests"
    if now_ms >= grant.until_ms:
        return f"none any more: {'faded' if grant.fades else 'over'} since {minute(grant.until_ms)}"
    return _faded_words(mark, grant, now_ms) if grant.fades else _expected_words(grant, now_ms)


def _faded_words(mark: Mark, grant: Grant, now_ms: int) -> str:
    now, full = _raised(grant, now_ms), _raised(grant, grant.since_ms)
    names = ", ".join(_named(family for family in FAMILIES if not mark.families or family in mark.families))
    if not names:
        return "none: a certain limit or a leak report spoke, and no mark softens one"
    most = MOST_OF_COHORT if grant.of_cohort else MOST
    return (
        f"{names}: threshold {number(now)} higher ({number(10**now)} times as sure), of {number(full)} at first; "
        f"gone by {minute(grant.until_ms)}. All marks together: at most {number(most)}{_for_good_words(mark, now_ms)}"
    )


def _for_good_words(mark: Mark, now_ms: int) -> str:
    if not mark.for_good:
        return ""
    until_ms = mark.at_ms + CONFIRMED_MS
    return (
        f". The change is for good: it {'is' if now_ms < until_ms else 'was'} learned at once until {minute(until_ms)}"
    )


def _expected_words(grant: Grant, now_ms: int) -> str:
    widened = _named(family for family, log in zip(FAMILIES, grant.widened, strict=True) if log > 0)
    raised = _named(family for family, step in zip(FAMILIES, grant.raised, strict=True) if step > 0)
    times = number(float(np.exp(grant.widened.max())))
    words = [f"{', '.join(widened)}: {times} times the usual is expected"] if widened else []
    words += [f"{', '.join(raised)}: threshold {number(float(grant.raised.max()))} higher"] if raised else []
    state = "over since" if now_ms >= grant.until_ms else "until"
    begins = f"from {minute(grant.since_ms)} " if now_ms < grant.since_ms else ""
    return f"{'; '.join(words) or 'none'}; {begins}{state} {minute(grant.until_ms)}"


def _raised(grant: Grant, at_ms: int) -> float:
    return float(effect([grant], np.array([at_ms]))[0].max())


def _named(families: Iterable[str]) -> list[str]:
    return [family for family in families if family in FAMILIES]


def minute(at_ms: int) -> str:
    """A time as people read it, in UTC.

    >>> minute(1795428000000)
    '2026-11-23 10:00 UTC'
    """
    return f"{rfc3339(at_ms)[:16].replace('T', ' ')} UTC"
