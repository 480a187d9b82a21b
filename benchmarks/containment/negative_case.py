"""What hard negatives are made of: a healthy change of one key's own traffic, and pieces that several of them share.

Pure; every draw is seeded. Rows come from the owner's hosts, in the owner's manner.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Final

import numpy as np

from benchmarks.containment import thieves
from benchmarks.containment.columns import DAY_MS, HOUR_MS, START_MS, Floats, Ints, Ledger, Uses, merged
from benchmarks.containment.thefts import Case
from benchmarks.containment.traffic import END_MS, Rhythm, World
from schemas.config.detectors import AnnouncedConfig

LEAST_ROWS: Final = 10
"""A change of fewer rows is none: such a key is not asked."""
TAIL_MS: Final = 6 * HOUR_MS  # how long the return to normal is watched
_JITTER_MS: Final = 60_000


@dataclass(frozen=True, eq=False)
class Negative:
    """Something that looks like trouble and is none. Any alert between `start_ms` and `until_ms` is a false one.

    `rows` are all that `keys` send from `from_ms` to `until_ms`, priced and in time order: they stand in place of the
    keys' clean rows. `from_ms` is `start_ms`, but where the keys have lived with the change for long: there it is
    the start of the record, and the learning must see these rows too.
    """

    keys: tuple[int, ...]
    from_ms: int
    start_ms: int
    until_ms: int
    rows: Uses
    announced: tuple[AnnouncedConfig, ...] = ()


Build = Callable[[Case], Negative | None]
"""The change at or after the case's start; None where the key cannot have it, or it would not fit before the end."""


def own_rows(case: Case, from_ms: int, until_ms: int) -> Uses:
    """The owner's clean rows, in time order."""
    return case.world.of_key(case.key).between(from_ms, until_ms)


def changed(case: Case, from_ms: int, to_ms: int, rows: Uses, *, tail_ms: int = TAIL_MS) -> Negative | None:
    """`rows` in place of the owner's from `from_ms` to `to_ms`, and then its clean ones for `tail_ms`."""
    if to_ms > END_MS or rows.rows < LEAST_ROWS:
        return None
    until_ms = min(to_ms + tail_ms, END_MS)
    whole = merged([rows, own_rows(case, to_ms, until_ms)]).between(from_ms, until_ms)
    return Negative((case.key,), from_ms, from_ms, until_ms, case.world.ledger.priced(whole))


def added(case: Case, from_ms: int, to_ms: int, extra: Uses) -> Negative | None:
    """`extra` on top of the owner's rows. None when there is not enough of it."""
    if extra.rows < LEAST_ROWS:
        return None
    return changed(case, from_ms, to_ms, merged([own_rows(case, from_ms, to_ms), extra]))


def paced(case: Case, from_ms: int, length_ms: int, times: float) -> Uses:
    """Rows in the owner's manner at `times` the key's mean pace in its active windows."""
    ts_ms, requests = thieves.arrivals(from_ms, times * case.mean_rps, case.rng, length_ms=length_ms)
    return thieves.in_owners_manner(case.world, case.key, ts_ms, requests, case.rng)


def more_of(case: Case, own: Uses, times: float | Floats) -> Uses:
    """What comes on top when each of the `own` rows happens `times` in the mean: up to a minute off, drawn anew.

    Nothing comes before the first row or after the last.
    """
    copies = case.rng.poisson(np.broadcast_to(np.asarray(times, float) - 1, own.rows))
    ts_ms = np.repeat(own.ts_ms, copies)
    ts_ms = ts_ms + case.rng.integers(-_JITTER_MS, _JITTER_MS, len(ts_ms))
    if own.rows:
        first, last = int(own.ts_ms[0]), int(own.ts_ms[-1])
        ts_ms = np.where(ts_ms < first, 2 * first - ts_ms, np.where(ts_ms > last, 2 * last - ts_ms, ts_ms))
        ts_ms = np.sort(ts_ms.clip(first, last))
    return thieves.in_owners_manner(case.world, case.key, ts_ms, np.ones(len(ts_ms), np.int64), case.rng)


def next_midnight_ms(at_ms: int) -> int:
    return START_MS + -(-(at_ms - START_MS) // DAY_MS) * DAY_MS


def next_night_ms(case: Case, hours: int) -> int:
    """Start of the next so many hours of the day in which the key has been used least, at or after the case's start."""
    rhythm = case.world.rhythms[case.key]
    active_ms = rhythm.active_ms[: rhythm.windows_before(case.start_ms)]
    used = np.bincount((active_ms - START_MS) // HOUR_MS % 24, minlength=24)
    quietest = int(np.argmin(sum(np.roll(used, -hour) for hour in range(hours))))
    day_ms = START_MS + (case.start_ms - START_MS) // DAY_MS * DAY_MS
    at_ms = day_ms + quietest * HOUR_MS
    return at_ms if at_ms >= case.start_ms else at_ms + DAY_MS


def next_busy_ms(case: Case, length_ms: int) -> int | None:
    """The first active window at or after the case's start from which on the key sends LEAST_ROWS in `length_ms`."""
    rhythm = case.world.rhythms[case.key]
    starts = rhythm.active_ms[rhythm.windows_before(case.start_ms) :]
    own_ms = case.world.of_key(case.key).ts_ms
    rows = np.searchsorted(own_ms, starts + length_ms) - np.searchsorted(own_ms, starts)
    busy = starts[rows >= LEAST_ROWS]
    return int(busy[0]) if len(busy) else None


def with_successors(world: World) -> World:
    """The world with one unused key more for each key: same owner and profile, another key_id, no traffic.

    The successor of key k is k + (keys before). All rows keep their meaning, and the texts are shared.
    """
    owners = [owner._replace(key_id=_successor_id(owner.key_id)) for owner in world.ledger.owners]
    never: Ints = np.zeros(0, np.int64)
    return replace(
        world,
        ledger=Ledger([*world.ledger.owners, *owners], world.ledger.texts),
        profiles=(
            *world.profiles,
            *(replace(profile, owner=owner) for profile, owner in zip(world.profiles, owners, strict=True)),
        ),
        rhythms=(*world.rhythms, *(Rhythm(never, np.zeros(0), rhythm.gaps) for rhythm in world.rhythms)),
        thinning=np.tile(world.thinning, 2),
    )


def successor(world: World, key: int) -> int:
    """The unused key of the same owner. ValueError in a world without successors."""
    owners = world.ledger.owners
    place = key + len(owners) // 2
    if place >= len(owners) or owners[place].key_id != _successor_id(owners[key].key_id):
        raise ValueError(f"key {key} has no successor: make the world by with_successors")
    return place


def _successor_id(key_id: str) -> str:
    return "fp1:" + sha256(key_id.encode()).hexdigest()[:12]
