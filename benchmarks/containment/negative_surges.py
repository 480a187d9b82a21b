"""Hard negatives that are more use than usual: each is what a theft of the same size looks like, from the owner."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import numpy as np

from benchmarks.containment.columns import DAY_MS, HOUR_MS, START_MS, Uses, merged
from benchmarks.containment.negative_case import (
    LEAST_ROWS,
    Negative,
    added,
    changed,
    more_of,
    next_midnight_ms,
    next_night_ms,
    own_rows,
    paced,
)
from benchmarks.containment.thefts import Case
from benchmarks.containment.traffic import END_MS
from schemas.config.detectors import AnnouncedConfig

_QUARTER_MS: Final = 15 * 60_000
_NIGHTS: Final = 14


def nightly_batch_new(case: Case) -> Negative | None:
    """A new job: for two hours of the key's quietest time, three times its usual pace on top.

    Hard because nobody has seen this key at night before, which is what an off-hours theft is.
    """
    from_ms = next_night_ms(case, 2)
    return added(case, from_ms, from_ms + 2 * HOUR_MS, paced(case, from_ms, 2 * HOUR_MS, 3.0))


def nightly_batch_usual(case: Case) -> Negative | None:
    """The same job, run every night since the record began, some minutes early or late and a fifth smaller or larger.

    Hard because two loud hours in a quiet night must be learned as normal in a week; a mean over the day never does.
    The learning must see these rows: `from_ms` is the start of the record. Two nights are watched.
    """
    first_ms = next_night_ms(case, 2)
    until_ms = first_ms + 2 * DAY_MS
    if until_ms > END_MS:
        return None
    jobs = [
        paced(
            case, START_MS + (first_ms - START_MS) % DAY_MS + night * DAY_MS + int(case.rng.integers(0, 600_000)),
            2 * HOUR_MS, 3.0 * float(case.rng.uniform(0.8, 1.2)),
        )
        for night in range(_NIGHTS)
    ]  # fmt: skip
    rows = merged([own_rows(case, START_MS, until_ms), *jobs]).between(START_MS, until_ms)
    if sum(job.rows for job in jobs) < LEAST_ROWS * _NIGHTS:
        return None
    return Negative((case.key,), START_MS, first_ms, until_ms, case.world.ledger.priced(rows))


def month_end(case: Case) -> Negative | None:
    """Closing the books: four times its own use for two whole days, in the hours as ever.

    Hard because two weeks of history hold no month end, and two days are far too long for a burst.
    """
    from_ms = next_midnight_ms(case.start_ms)
    return _multiplied(case, from_ms, from_ms + 2 * DAY_MS, 4.0)


def load_test(case: Case) -> Negative | None:
    """Ten times the usual pace for one hour, announced a quarter of an hour wider on both sides.

    Hard because it is as large as a theft and starts within a second; only the announcement tells them apart.
    """
    from_ms = -(-case.start_ms // _QUARTER_MS) * _QUARTER_MS + _QUARTER_MS
    made = added(case, from_ms, from_ms + HOUR_MS, paced(case, from_ms, HOUR_MS, 9.0))
    if made is None:
        return None
    key_id = case.world.ledger.owners[case.key].key_id
    return _announced(made, key_id, until_ms=from_ms + HOUR_MS + _QUARTER_MS)


def _announced(made: Negative, key_id: str, *, until_ms: int) -> Negative:
    window = AnnouncedConfig.model_validate(
        {
            "what": "load test", "owner": "platform", "reason": "capacity for the next launch", "keys": [key_id],
            "from": _moment(made.start_ms - _QUARTER_MS), "until": _moment(until_ms), "times": 10.0,
            "limits_times": 10.0,
        }
    )  # fmt: skip
    return Negative(made.keys, made.from_ms, made.start_ms, made.until_ms, made.rows, (window,))


def _moment(ts_ms: int) -> datetime:
    return datetime.fromtimestamp(ts_ms / 1000, UTC)


def release_day(case: Case) -> Negative | None:
    """A release: two to three times the use for a day, and within four hours all machines send a new client version.

    Hard because two families agree at once, volume and an unseen user agent, as in a theft.
    """
    from_ms, to_ms = case.start_ms, case.start_ms + DAY_MS
    made = _multiplied(case, from_ms, to_ms, float(case.rng.uniform(2.0, 3.0)))
    if made is None:
        return None
    updated = case.rng.random(made.rows.rows) * 4 * HOUR_MS <= made.rows.ts_ms - from_ms
    agent = np.where(updated, _next_version(case, made.rows), made.rows.agent)
    return Negative(made.keys, from_ms, from_ms, made.until_ms, made.rows.with_columns(agent=agent))


def _next_version(case: Case, rows: Uses) -> int:
    """The next major version of the program that the key uses most."""
    main = int(np.argmax(np.bincount(rows.agent)))
    texts = case.world.ledger.texts
    program = str(texts.text(main)).rsplit(" ", 1)[0]
    return texts.code(f"{program} 2.0.0")


def backfill(case: Case) -> Negative | None:
    """Old records are worked off in one night: five times the usual pace on top, for six hours.

    Hard because it is large, flat and long, in the hours in which the key rests: a reseller's profile.
    """
    from_ms = next_night_ms(case, 6)
    return added(case, from_ms, from_ms + 6 * HOUR_MS, paced(case, from_ms, 6 * HOUR_MS, 5.0))


def launch_ramp(case: Case) -> Negative | None:
    """A campaign brings users: twice as many each day for three days, eightfold in the end; it stays so for a while.

    Hard because it is the probe-then-abuse ramp in slow motion, and each hour is a new record.
    """
    from_ms, grown_ms = case.start_ms, case.start_ms + 3 * DAY_MS
    to_ms = min(grown_ms + DAY_MS, END_MS)
    if grown_ms > END_MS:
        return None
    own = own_rows(case, from_ms, to_ms)
    days = np.minimum((own.ts_ms - from_ms) / DAY_MS, 3.0)
    extra = more_of(case, own, 2.0**days)
    return None if extra.rows < LEAST_ROWS else changed(case, from_ms, to_ms, merged([own, extra]), tail_ms=0)


def _multiplied(case: Case, from_ms: int, to_ms: int, times: float) -> Negative | None:
    return added(case, from_ms, to_ms, more_of(case, own_rows(case, from_ms, to_ms), times))
