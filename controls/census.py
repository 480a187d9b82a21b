"""The census: keys in use that nobody registered, and registered ones that are used otherwise than one key is. Pure.

It tells and never cuts: each of its findings has an innocent reading. How a key is used it keeps in memory alone, a
few hundred bytes for each, and forgets with the process; then it is quiet for a while, not wrong. What it has told is
stored (`Told`), and said again after a restart it is the same finding.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa

from controls.census_columns import FrameUses, Seen
from controls.census_told import AGAIN_MS, Told
from controls.neighbours import Hood, related
from schemas.key_record import KeyRecord
from schemas.records import CENSUS_PREFIX, Finding, KeyFacts, Severity, stable_id

DAY_S: Final = 86_400
TOLD_PER_DAY: Final = 10
"""So many unknown keys are told one by one in a day; then one finding says that there are more."""
KEYS_MOST: Final = 100_000
_AGAIN_S: Final = AGAIN_MS // 1000
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
    envs: dict[str, Seen] = field(default_factory=dict)  # of this day
    hood: Hood | None = None
    switches: deque[tuple[int, frozenset[Hood]]] = field(default_factory=lambda: deque(maxlen=_SWITCHES))
    roams_until_s: int = 0  # it was seen in several neighbourhoods at once: that is how it is used
    said: dict[str, int] = field(default_factory=dict)  # by this process: detector -> of when, in seconds


class _Row(NamedTuple):
    """One key in one frame."""

    key_id: str
    facts: KeyFacts
    entry: KeyRecord | None


class Census:
    """Of one worker. `entry` is what is registered of a key; `registered` is how many keys are."""

    def __init__(
        self, *, entry: Callable[[str], KeyRecord | None], registered: Callable[[], int], told: Told | None = None
    ) -> None:
        self._entry, self._registered = entry, registered
        self.told = Told() if told is None else told
        self._keys: dict[str, _Key] = {}
        self._summed_up = -1  # the day

    def __len__(self) -> int:
        return len(self._keys)

    def drop(self) -> None:
        """What was told is about to be restored; keys that stay go on. What may not have gone out is said again."""
        self.told.clear()
        self._summed_up = -1
        for known in self._keys.values():
            known.said.clear()

    def saw(self, frame: pa.RecordBatch) -> list[Finding]:
        """What the rows of a frame say, in the order of its keys."""
        if frame.num_rows == 0:
            return []
        columns = FrameUses(frame)
        found: list[Finding] = []
        for place in np.unique(columns.key).tolist():
            rows = np.flatnonzero(columns.key == place) if len(columns.keys) > 1 else np.arange(frame.num_rows)
            first_s = int(columns.ts_s[rows[0]])  # that came first: how rows are cut into frames must not matter
            key_id = columns.keys[place]
            row = _Row(key_id, columns.facts(int(rows[0])), self._entry(key_id))
            rows = rows[np.argsort(columns.ts_s[rows], kind="stable")]
            known = self._remembered(key_id, int(columns.ts_s[rows[0]]))
            known.uses += len(rows)
            found += self._unknown(row, known, first_s)
            found += self._two_environments(row, known, int(columns.ts_s[rows[-1]]), columns.environments(rows))
            found += self._two_networks(row, known, columns.hoods(rows))
        return found

    def _remembered(self, key_id: str, now_s: int) -> _Key:
        known = self._keys.get(key_id)
        if known is None:
            if len(self._keys) >= KEYS_MOST:
                del self._keys[next(iter(self._keys))]
            known = self._keys[key_id] = _Key(now_s)
        return known

    def _say(self, row: _Row, known: _Key, detector: str, at_s: int, reason: str) -> Iterator[Finding]:
        """Once in thirty days. A process that has not said it itself cannot know that it went out: the same again."""
        if _is_said(known, detector, at_s):
            return
        known.said[detector] = at_s
        before = self.told.of(detector, row.key_id, at_s * 1000)
        yield before or self.told.add(_finding(row, detector, at_s, reason))

    def _unknown(self, row: _Row, known: _Key, at_s: int) -> Iterator[Finding]:
        if row.entry is not None:
            known.said.pop("unknown_key", None)
            self.told.forget("unknown_key", row.key_id)
            return
        if not self._registered() or _is_said(known, "unknown_key", at_s):
            return
        again = self.told.of("unknown_key", row.key_id, at_s * 1000) is not None
        if again or self.told.on("unknown_key", at_s * 1000) < TOLD_PER_DAY:
            reason = (
                "it is in use and not registered: nobody answers for it. Register it in keys.yaml "
                "(`keyfuse keys import` proposes entries), or cut it"
            )
            yield from self._say(row, known, "unknown_key", at_s, reason)
            return
        known.said["unknown_key"] = at_s
        if at_s // DAY_S > self._summed_up:
            self._summed_up = at_s // DAY_S
            yield self._many(at_s)

    def _many(self, at_s: int) -> Finding:
        nobody = _Row(f"{CENSUS_PREFIX}unknown keys", KeyFacts(provider=""), None)
        before = self.told.of("unknown_keys", nobody.key_id, at_s * 1000)
        if before is not None and before.at_ms // 1000 // DAY_S >= at_s // DAY_S:
            return before
        reason = (
            f"more than {TOLD_PER_DAY} keys in use that are not registered came up today; further ones are not "
            "told one by one: `keyfuse keys` shows all that were used"
        )
        return self.told.add(_finding(nobody, "unknown_keys", at_s, reason, once=str(at_s // DAY_S)))

    def _two_environments(self, row: _Row, known: _Key, now_s: int, envs: Mapping[str, Seen]) -> Iterator[Finding]:
        if now_s // DAY_S > known.day:
            known.day, known.envs = now_s // DAY_S, {}
        for env, seen in envs.items():
            name = _SAME_ENV.get(env.strip().lower(), env.strip().lower())
            before = known.envs.get(name)
            if name not in {"", "unknown"} and (before or len(known.envs) < 20):
                known.envs[name] = Seen(before.uses + seen.uses, before.since_s) if before else seen
        total = sum(seen.uses for seen in known.envs.values())
        many = {name for name, seen in known.envs.items() if seen.uses >= max(_ENV_USES, _ENV_SHARE * total)}
        written = row.entry.env.lower() if row.entry else "unknown"
        both = sorted(many | ({_SAME_ENV.get(written, written)} - {"unknown"}))
        if many and len(both) > 1:
            reason = f"one key serves {' and '.join(both[:4])}: who has the secret of one has both, and a cut hits both"
            yield from self._say(row, known, "two_environments", max(known.envs[env].since_s for env in many), reason)

    def _two_networks(self, row: _Row, known: _Key, hoods: list[tuple[int, Hood]]) -> Iterator[Finding]:
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
            if settled:
                one, other = sorted((before.words, hood.words))
                reason = f"it is used from {one} and from {other} at once, and lived in one neighbourhood before"
                yield from self._say(row, known, "two_networks", at_s, reason)


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


def _is_said(known: _Key, detector: str, at_s: int) -> bool:
    said_s = known.said.get(detector)
    return said_s is not None and at_s - said_s < _AGAIN_S


def _finding(
    row: _Row, detector: str, now_s: int, reason: str, *, severity: Severity = "warning", once: str = ""
) -> Finding:
    """The same thing of the same moment has the same id, whoever says it."""
    name = stable_id("fnd", "identity", detector, row.key_id, once or now_s)
    return Finding(
        finding_id=name, at_ms=now_s * 1000, key_id=row.key_id, family="identity", detector=detector, severity=severity,
        score=0.0, certain=False, reason=reason, evidence={}, usd_per_min=0.0, expected_usd_per_min=0.0,
        facts=row.facts,
    )  # fmt: skip
