"""Marks by name, so that a test says only what matters to it."""

from __future__ import annotations

from typing import Any

from detectors.examples import NOW_S
from schemas.config.detectors import AnnouncedConfig
from schemas.records import Mark, stable_id

NOW_MS = NOW_S * 1000
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


def false_positive(key_id: str = "k", *, at_ms: int = NOW_MS, **given: Any) -> Mark:
    """Of the hour before it was said."""
    return _mark("false_positive", key_id, at_ms, {"from_ms": at_ms - HOUR_MS, "until_ms": at_ms} | given)


def true_alarm(key_id: str = "k", *, at_ms: int = NOW_MS, **given: Any) -> Mark:
    return _mark("true", key_id, at_ms, {"from_ms": at_ms - HOUR_MS, "until_ms": at_ms} | given)


def expected(key_id: str = "k", *, at_ms: int = NOW_MS, hours: float = 4, **given: Any) -> Mark:
    return _mark("expected", key_id, at_ms, {"from_ms": at_ms, "until_ms": at_ms + round(hours * HOUR_MS)} | given)


def withdrawn(mark: Mark) -> Mark:
    changes = {"withdrawn": True, "withdrawn_by": "bo", "withdrawn_because": "a slip", "at_ms": mark.at_ms + 1}
    return mark.model_copy(update=changes)


def window(**given: Any) -> AnnouncedConfig:
    """A day of load test, of every key."""
    plain = {"what": "load test", "owner": "ann", "reason": "release", "keys": ["*"]}
    return AnnouncedConfig.model_validate(plain | {"from": "2026-11-23", "until": "2026-11-24"} | given)


def _mark(verdict: str, key_id: str, at_ms: int, given: dict[str, Any]) -> Mark:
    plain: dict[str, Any] = {
        "mark_id": stable_id("mrk", key_id, verdict, at_ms, *sorted(map(str, given.items()))),
        "at_ms": at_ms, "by": "ann", "verdict": verdict, "reason": "known to us", "key_id": key_id,
    }  # fmt: skip
    return Mark.model_validate(plain | given)
