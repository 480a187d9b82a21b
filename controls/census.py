"""The census: keys in use that nobody registered, and registered ones that are used otherwise than one key is. Pure.

It tells and never cuts: each of its findings has an innocent reading. What it knows of a key it keeps in memory alone,
a few hundred bytes for each, and forgets with the process; then it is quiet for a while, not wrong.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa

from controls.census_columns import FrameUses
from controls.neighbours import Hood, related
from schemas.key_record import KeyRecord
from schemas.records import CENSUS_PREFIX, Finding, KeyFacts, Severity, stable_id

DAY_S: Final = 86_400
TOLD_PER_DAY: Final = 10
"""So many unknown keys are told one by one in a day; then one finding says that there are more."""
KEYS_MOST: Final = 100_000
_AGAIN_S: Final = 30 * DAY_S  # what is so still after this long is told again
_ENV_USES: Final = 10  # in a day, of each environment: fewer is a stray label
_ENV_SHARE: Final = 0.02
_LIVED_S: Final = 3 * DAY_S  # so long a key must have lived in one neighbourhood
_LIVED_USES: Final = 200
_AT_ONCE_S: Final = 600
_SWITCHES: Final = 3  # there, here, there again: a failover or a journey changes once
_SAME_ENV: Final[Mapping[str, str]] = {
    "production": "prod", "live": "prod", "stage": "staging", "stg": "staging", "development": "dev",
}  # fmt: skip


@dataclass
class _Key:
    """What the census knows of one key."""

    since_s: int
    uses: int = 0
    day: int = 0
    envs: dict[str, int] = field(default_factory=dict)  # uses of this day
    hood: Hood | None = None
    switches: deque[tuple[int, frozenset[Hood]]] = field(default_factory=lambda: deque(maxlen=_SWITCHES))
    roams_until_s: int = 0  # it was seen in several neighbourhoods at once: that is how it is used
    told: dict[str, int] = field(default_factory=dict)  # detector -> month


class _Row(NamedTuple):
    """One key in one frame."""

    key_id: str
    facts: KeyFacts
    entry: KeyRecord | None


class Census:
    """Of one worker. `entry` is what is registered of a key; `registered` is how many keys are."""

    def __init__(self, *, entry: Callable[[str], KeyRecord | None], registered: Callable[[], int]) -> None:
        self._entry, self._registered = entry, registered
        self._keys: dict[str, _Key] = {}
        self._day = self._unknown_today = 0

    def __len__(self) -> int:
        return len(self._keys)

    def saw(self, frame: pa.RecordBatch) -> list[Finding]:
        """What the rows of a frame say, in the order of its keys."""
        if frame.num_rows == 0:
            return []
        columns = FrameUses(frame)
        found: list[Finding] = []
        for place in np.unique(columns.key).tolist():
            rows = np.flatnonzero(columns.key == place) if len(columns.keys) > 1 else np.arange(frame.num_rows)
            rows = rows[np.argsort(columns.ts_s[rows], kind="stable")]
            key_id = columns.keys[place]
            row = _Row(key_id, columns.facts(int(rows[-1])), self._entry(key_id))
            known = self._remembered(key_id, int(columns.ts_s[rows[0]]))
            known.uses += len(rows)
            now_s = int(columns.ts_s[rows[-1]])
            found += self._unknown(row, known, now_s)
            found += _two_environments(row, known, now_s, columns.environments(rows))
            found += _two_networks(row, known, columns.hoods(rows))
        return found

    def _remembered(self, key_id: str, now_s: int) -> _Key:
        known = self._keys.get(key_id)
        if known is None:
            if len(self._keys) >= KEYS_MOST:
                del self._keys[next(iter(self._keys))]
            known = self._keys[key_id] = _Key(now_s)
        return known

    def _unknown(self, row: _Row, known: _Key, now_s: int) -> Iterator[Finding]:
        if row.entry is not None or not self._registered() or not _news(known, "unknown_key", now_s):
            return
        if now_s // DAY_S > self._day:
            self._day, self._unknown_today = now_s // DAY_S, 0
        self._unknown_today += 1
        if self._unknown_today <= TOLD_PER_DAY:
            reason = (
                "it is in use and not registered: nobody answers for it. Register it in keys.yaml "
                "(`keyfuse keys import` proposes entries), or cut it"
            )
            yield _finding(row, "unknown_key", now_s, reason)
        elif self._unknown_today == TOLD_PER_DAY + 1:
            nobody = _Row(f"{CENSUS_PREFIX}unknown keys", KeyFacts(provider=""), None)
            reason = (
                f"more than {TOLD_PER_DAY} keys in use that are not registered came up today; further ones are not "
                "told one by one: `keyfuse keys` shows all that were used"
            )
            yield _finding(nobody, "unknown_keys", now_s, reason, once=str(self._day))


def _two_environments(row: _Row, known: _Key, now_s: int, envs: Mapping[str, int]) -> Iterator[Finding]:
    if now_s // DAY_S > known.day:
        known.day, known.envs = now_s // DAY_S, {}
    for env, uses in envs.items():
        name = _SAME_ENV.get(env.strip().lower(), env.strip().lower())
        if name not in {"", "unknown"} and (name in known.envs or len(known.envs) < 20):
            known.envs[name] = known.envs.get(name, 0) + uses
    total = sum(known.envs.values())
    many = {name for name, uses in known.envs.items() if uses >= max(_ENV_USES, _ENV_SHARE * total)}
    written = row.entry.env.lower() if row.entry else "unknown"
    both = sorted(many | ({_SAME_ENV.get(written, written)} - {"unknown"}))
    if many and len(both) > 1 and _news(known, "two_environments", now_s):
        yield _finding(
            row, "two_environments", now_s,
            f"one key serves {' and '.join(both[:4])}: who has the secret of one has both, and a cut hits both",
            once="/".join(both),
        )  # fmt: skip


def _two_networks(row: _Row, known: _Key, hoods: list[tuple[int, Hood]]) -> Iterator[Finding]:
    for at_s, hood in hoods:
        before, known.hood = known.hood, hood
        if before is None or before == hood or related(before, hood):
            continue
        known.switches.append((at_s, frozenset((before, hood))))
        if len(known.switches) < _SWITCHES or abs(at_s - known.switches[0][0]) > _AT_ONCE_S:
            continue
        if len({pair for _, pair in known.switches}) > 1:
            continue
        settled = at_s >= known.roams_until_s and at_s - known.since_s >= _LIVED_S and known.uses >= _LIVED_USES
        known.roams_until_s = at_s + _AGAIN_S
        known.switches.clear()
        if settled and _news(known, "two_networks", at_s):
            one, other = sorted((before.words, hood.words))
            yield _finding(
                row, "two_networks", at_s,
                f"it is used from {one} and from {other} at once, and lived in one neighbourhood before",
            )  # fmt: skip


def stale(
    entries: Mapping[str, KeyRecord], used_ms: Mapping[str, int], known_ms: Mapping[str, int], *, now_ms: int,
    stale_days: float,
) -> list[Finding]:  # fmt: skip
    """Registered keys that were not used for so long.

    Args:
        entries: What is registered.
        used_ms: When each was last used, as far as the archive goes.
        known_ms: Since when each is registered. A key whose beginning nobody knows counts from then.
        now_ms: Wall clock.
        stale_days: As in `keys.yaml`.
    """
    standby = {entry.backup for entry in entries.values() if entry.backup}  # kept for the day on which it is needed
    found = []
    for key_id, entry in entries.items():
        begun = known_ms.get(key_id, now_ms) if entry.created_ms is None else entry.created_ms
        last_ms = max(used_ms.get(key_id, 0), begun, entry.rotated_ms or 0)
        if (
            entry.state not in {"active", "throttled"}
            or key_id in standby
            or now_ms - last_ms < stale_days * DAY_S * 1000
        ):
            continue
        days = (now_ms - last_ms) // (DAY_S * 1000)
        never = "" if key_id in used_ms else " or never"
        reason = (
            f"it is registered and was not used for {days:,} days{never}: a key that nobody needs can still be stolen"
        )
        row = _Row(key_id, entry.facts(), entry)
        found.append(
            _finding(row, "stale", now_ms // 1000, reason, severity="info", once=str(last_ms // (DAY_S * 1000)))
        )
    return found


def _news(known: _Key, detector: str, now_s: int) -> bool:
    """Once in thirty days."""
    month = now_s // _AGAIN_S
    if known.told.get(detector) == month:
        return False
    known.told[detector] = month
    return True


def _finding(
    row: _Row, detector: str, now_s: int, reason: str, *, severity: Severity = "warning", once: str = ""
) -> Finding:
    """The same thing said again, by another worker or after a restart, has the same id."""
    name = stable_id("fnd", "identity", detector, row.key_id, once or now_s // _AGAIN_S)
    return Finding(
        finding_id=name, at_ms=now_s * 1000, key_id=row.key_id, family="identity", detector=detector, severity=severity,
        score=0.0, certain=False, reason=reason, evidence={}, usd_per_min=0.0, expected_usd_per_min=0.0,
        facts=row.facts,
    )  # fmt: skip
