"""Hard negatives that change how or by which key the owner works: as many requests as before, but for retries."""

from __future__ import annotations

from typing import Final

import numpy as np

from benchmarks.containment.columns import DAY_MS, HOUR_MS, START_MS, WEEK_MS, Mask, Uses
from benchmarks.containment.negative_case import (
    LEAST_ROWS,
    TAIL_MS,
    Negative,
    changed,
    next_busy_ms,
    next_midnight_ms,
    own_rows,
    successor,
)
from benchmarks.containment.thefts import Case
from benchmarks.containment.thieves import in_owners_manner
from benchmarks.containment.traffic import END_MS
from sources.simulator.prices import PROVIDERS, unit_prices

_STORM_MS: Final = 20 * 60_000
_FAILING: Final = 0.8
_BACKOFF_S: Final = np.array([0.0, 2.0, 6.0, 14.0, 30.0, 62.0])  # doubling pauses, added up
_SUCCESSORS: Final = {
    "gpt-5-nano": "gpt-5.4-nano", "gpt-5-mini": "gpt-5.4-mini", "gpt-5.1": "gpt-5.2",
    "claude-sonnet-4-5": "claude-sonnet-4-6", "claude-opus-4-5": "claude-opus-4-6",
    "gemini-2.5-flash-lite": "gemini-3.1-flash-lite-preview", "gemini-2.5-flash": "gemini-3-flash-preview",
    "gemini-2.5-pro": "gemini-3-pro-preview",
}  # fmt: skip
"""The next model of the same class, at its real price: up to four times the old one's."""


def retry_storm(case: Case) -> Negative | None:
    """The provider fails for 20 minutes: four in five requests get 5xx, and each is tried three to five times more.

    Hard because volume and errors rise together, as when a thief tries out what a key can do.
    """
    from_ms = next_busy_ms(case, _STORM_MS)
    if from_ms is None:
        return None
    own = own_rows(case, from_ms, from_ms + _STORM_MS)
    hit = case.rng.random(own.rows) < _FAILING
    tries = np.where(hit, case.rng.integers(3, 6, own.rows) + 1, 1)
    row = np.repeat(np.arange(own.rows), tries)
    nth = np.arange(len(row)) - np.repeat(np.cumsum(tries) - tries, tries)
    pause_ms = (_BACKOFF_S[nth] * case.rng.uniform(0.8, 1.2, len(row)) * 1000).astype(np.int64)
    last = nth == tries[row] - 1
    worked = ~hit[row] | (last & (case.rng.random(len(row)) >= _FAILING))
    rows = own.where(row).with_columns(ts_ms=own.ts_ms[row] + pause_ms)
    return changed(case, from_ms, from_ms + _STORM_MS, _failed(rows, worked, case.rng).in_order())


def _failed(rows: Uses, worked: Mask, rng: np.random.Generator) -> Uses:
    """Rows that did not work have a status of the provider's and no tokens."""
    broken = rng.choice((500, 502, 503, 529), rows.rows)
    tokens = {name: getattr(rows, name) * worked for name in ("input_tokens", "cached_tokens", "output_tokens")}
    return rows.with_columns(status=np.where(worked, rows.status, broken), **tokens)


def cache_flush(case: Case) -> Negative | None:
    """The prompt cache is lost for three to eight hours: as many tokens as ever, at the full price.

    Hard because cost per request rises severalfold while everything else stays: a model swap in small.
    """
    length_ms = int(case.rng.uniform(3, 8) * HOUR_MS)
    from_ms = next_busy_ms(case, length_ms)
    if from_ms is None:
        return None
    own = own_rows(case, from_ms, from_ms + length_ms)
    if (own.cached_tokens > 0).sum() < LEAST_ROWS // 2:
        return None
    return changed(case, from_ms, from_ms + length_ms, own.with_columns(cached_tokens=0))


def new_model_gradual(case: Case) -> Negative | None:
    """The main model's successor takes over: a tenth of its requests at first, all of them two days later.

    Hard because the key has never used this model, and its price per token is higher for most.
    """
    own = own_rows(case, case.start_ms, case.start_ms + 3 * DAY_MS)
    main = _main_model(case, own)
    name = _SUCCESSORS.get(str(case.world.ledger.texts.text(main)))
    if name is None:
        return None
    share = 0.1 + 0.9 * (own.ts_ms - case.start_ms) / (2 * DAY_MS)
    taken = case.rng.random(own.rows) < share
    return _rolled_out(case, own, name=name, moved=(own.model == main) & taken, length_ms=3 * DAY_MS)


def new_model_at_once(case: Case) -> Negative | None:
    """All requests of the main model go to a cheaper one from one moment on.

    Hard because the mix of models turns over within a minute, as when a thief takes a key; only the bill falls.
    """
    own = own_rows(case, case.start_ms, case.start_ms + DAY_MS)
    main = _main_model(case, own)
    name = _cheaper(case, main)
    return None if name is None else _rolled_out(case, own, name=name, moved=own.model == main, length_ms=DAY_MS)


def _main_model(case: Case, rows: Uses) -> int:
    return int(np.argmax(np.bincount(rows.model))) if rows.rows else case.world.profiles[case.key].main_model


def _cheaper(case: Case, main: int) -> str | None:
    """The dearest model of the provider that is cheaper than the main one; one the key does not use, if there is."""
    profile, texts = case.world.profiles[case.key], case.world.ledger.texts
    provider, known = profile.owner.provider, PROVIDERS[profile.owner.provider]
    price = unit_prices(provider, str(texts.text(main))).output
    names = [name for name in (known.large, known.middle, known.small) if unit_prices(provider, name).output < price]
    used = {texts.text(model.code) for model in profile.models}
    return next((name for name in names if name not in used), names[0] if names else None)


def _rolled_out(case: Case, own: Uses, *, name: str, moved: Mask, length_ms: int) -> Negative | None:
    if moved.sum() < LEAST_ROWS:
        return None
    rows = own.with_columns(model=np.where(moved, case.world.ledger.texts.code(name), own.model))
    return changed(case, case.start_ms, case.start_ms + length_ms, rows, tail_ms=0)


def key_rotation(case: Case) -> Negative | None:
    """A key is renewed: over one to six hours its use moves to a new key of the same application, and it falls silent.

    Hard because the new key has no past and starts at full pace; the sum of both never changes.
    """
    new = successor(case.world, case.key)
    from_ms, until_ms = case.start_ms, case.start_ms + DAY_MS + TAIL_MS
    own = own_rows(case, from_ms, until_ms)
    if until_ms > END_MS or own.rows < LEAST_ROWS:
        return None
    ramp_ms = case.rng.uniform(1, 6) * HOUR_MS
    moved = case.rng.random(own.rows) * ramp_ms <= own.ts_ms - from_ms
    rows = own.with_columns(key=np.where(moved, new, case.key))
    return Negative((case.key, new), from_ms, from_ms, until_ms, case.world.ledger.priced(rows))


def new_key_first_day(case: Case) -> Negative | None:
    """A key that nobody has seen before works like an older one of its team from its first minute on.

    Hard because there is no normal yet: everything about it is new, as everything about a thief is.
    """
    new = successor(case.world, case.key)
    since = case.start_ms - (WEEK_MS if case.start_ms >= START_MS + WEEK_MS else 0)
    own = own_rows(case, since, since + DAY_MS)
    until_ms = case.start_ms + DAY_MS
    if until_ms > END_MS or own.rows < LEAST_ROWS:
        return None
    ts_ms = np.sort(own.ts_ms - since + case.start_ms + case.rng.integers(0, 60_000, own.rows)).clip(max=until_ms - 1)
    rows = in_owners_manner(case.world, case.key, ts_ms, own.requests, case.rng).with_columns(key=new)
    return Negative((new,), case.start_ms, case.start_ms, until_ms, rows)


def daylight_saving(case: Case) -> Negative | None:
    """Clocks go back: from a midnight on everything comes one hour later, for three days as far as is watched.

    Hard because each busy hour now begins and ends in one that was quiet, every day, for good.
    """
    from_ms = next_midnight_ms(case.start_ms)
    until_ms = min(from_ms + 3 * DAY_MS, END_MS)
    own = own_rows(case, from_ms, until_ms - HOUR_MS)
    if own.rows < LEAST_ROWS:
        return None
    return changed(case, from_ms, until_ms, own.with_columns(ts_ms=own.ts_ms + HOUR_MS), tail_ms=0)


def holiday(case: Case) -> Negative | None:
    """Three to five days of nothing, then the key is used as ever; its first day back is watched.

    Hard because a silent key that wakes is the dormant key that a thief found.
    """
    room = (END_MS - case.start_ms) / DAY_MS - 1
    if room < 3:
        return None
    back_ms = case.start_ms + int(case.rng.uniform(3, min(5, room)) * DAY_MS)
    until_ms = back_ms + DAY_MS
    missed, after = own_rows(case, case.start_ms, back_ms), own_rows(case, back_ms, until_ms)
    if min(missed.rows, after.rows) < LEAST_ROWS:
        return None
    return Negative((case.key,), case.start_ms, case.start_ms, until_ms, after)
