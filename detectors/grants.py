"""What a mark or an announced time changes, and within which bounds.

A threshold stands at most `MOST` higher, and of more use than usual only the stated multiple is excused. So the worst
that a wrong mark can do is known, and it passes by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Final, NamedTuple

import numpy as np

from detectors.state import Array
from schemas.config.detectors import AnnouncedConfig
from schemas.records import EXPECTED_FAMILIES, EXPECTED_MAX_MS, KeyFacts, Mark

WIDENED: Final = ("velocity", "drift", "economics")
"""Families that measure how many times the usual: what is expected is taken off their raw scores."""
RAISED: Final = ("mix", "origin", "rhythm", "errors", "repetition", "cohort")
"""Families without such a measure: what is expected raises their thresholds."""
FAMILIES: Final = WIDENED + RAISED
STEP: Final = 0.5
"""In score units, by each false positive: the family must be three times as sure."""
MOST: Final = 2.0
"""In score units, by whatever and however many marks: a hundred times as sure."""
MOST_OF_COHORT: Final = 1.0
CONFIRMED_MS: Final = 86_400_000
"""After a change was said to be for good, the key learns it for so long without the caution that alarms have."""
FADE_MS: Final = 28 * 86_400_000
"""Until a false positive counts for nothing."""


class Grant(NamedTuple):
    """One mark or announced time as it counts. Arrays have one entry per family of FAMILIES."""

    name: str
    who: str
    since_ms: int
    until_ms: int  # not included
    raised: Array  # score units
    widened: Array  # natural log of the expected multiple
    fades: bool = False
    of_cohort: bool = False
    limits: float = 1.0  # times the certain limits: only announcements in detectors.yaml, where limits are set, say it


def granted(mark: Mark) -> Grant | None:
    """What the mark allows; None for one that was withdrawn or is a label alone."""
    if mark.withdrawn or mark.verdict == "true":
        return None
    if mark.verdict == "expected":
        names = mark.families or EXPECTED_FAMILIES
        until_ms = min(mark.until_ms, mark.from_ms + EXPECTED_MAX_MS)
        return Grant(mark.mark_id, mark.by, mark.from_ms, until_ms, *_expected(names, mark.times))
    raised = np.array([STEP if not mark.families or family in mark.families else 0.0 for family in FAMILIES])
    return Grant(
        mark.mark_id, mark.by, mark.at_ms, mark.at_ms + FADE_MS, raised, np.zeros(len(FAMILIES)), fades=True,
        of_cohort=mark.scope == "cohort",
    )  # fmt: skip


def confirms(mark: Mark, at_ms: int) -> bool:
    """Whether the key learns at this moment what a mark says is for good."""
    return 0 <= at_ms - mark.at_ms < CONFIRMED_MS


def announced(window: AnnouncedConfig) -> Grant:
    """What an announced time allows."""
    since_ms, until_ms = (round(moment.timestamp() * 1000) for moment in (window.from_, window.until))
    until_ms = min(until_ms, since_ms + EXPECTED_MAX_MS)
    grants = _expected(window.families, window.times)
    return Grant(window.what, window.owner, since_ms, until_ms, *grants, limits=window.limits_times)


def _expected(names: Sequence[str], times: float) -> tuple[Array, Array]:
    raised = np.array([MOST if family in RAISED and family in names else 0.0 for family in FAMILIES])
    widened = np.array([np.log(times) if family in WIDENED and family in names else 0.0 for family in FAMILIES])
    return raised, widened


def order_of(grant: Grant) -> tuple[str, int, int]:
    """Sums of the same grants are the same to the last bit, in whatever order they were given."""
    return grant.name, grant.since_ms, grant.until_ms


class Grants:
    """Grants as columns."""

    def __init__(self, grants: Iterable[Grant]) -> None:
        self.rows = list(grants)
        self.since_ms = np.array([grant.since_ms for grant in self.rows], np.int64)
        self.until_ms = np.array([grant.until_ms for grant in self.rows], np.int64)
        self._raised = np.array([grant.raised for grant in self.rows]).reshape(-1, len(FAMILIES))
        self._widened = np.array([grant.widened for grant in self.rows]).reshape(-1, len(FAMILIES))
        self._fades = np.array([grant.fades for grant in self.rows], bool)
        self._of_cohort = np.array([grant.of_cohort for grant in self.rows], bool)
        self._limits = np.array([grant.limits for grant in self.rows])
        self.raises_limits = bool((self._limits > 1).any())

    def effect(self, which: Array, starts: Array, at_ms: Array) -> tuple[Array, Array]:
        """[moment, family] thresholds raised in score units, and raw scores taken off, by several grants together.

        False positives add up and fade linearly; of what is expected the greatest counts.

        Args:
            which: A row of grants for each pair of moment and grant; the pairs of one moment stand together.
            starts: The first pair of each moment.
            at_ms: The moment of each pair.
        """
        since_ms, fades = self.since_ms[which], self._fades[which]
        share = ((at_ms >= since_ms) & (at_ms < self.until_ms[which])).astype("f8")
        share *= np.where(fades, 1 - (at_ms - since_ms) / FADE_MS, 1.0)
        raised, of_cohort = share[:, None] * self._raised[which], self._of_cohort[which]
        own = np.add.reduceat(raised * (fades & ~of_cohort)[:, None], starts)
        cohort = np.add.reduceat(raised * (fades & of_cohort)[:, None], starts)
        flat = np.maximum.reduceat(raised * ~fades[:, None], starts)
        widened: Array = np.maximum.reduceat(share[:, None] * self._widened[which], starts)
        together = np.maximum(np.minimum(own, MOST) + np.minimum(cohort, MOST_OF_COHORT), flat)
        return np.minimum(together, MOST), widened

    def limits(self, which: Array, starts: Array, at_ms: Array) -> Array:
        """[moment] how many times the certain limits are in force; arguments as for `effect`."""
        active = (at_ms >= self.since_ms[which]) & (at_ms < self.until_ms[which])
        times: Array = np.maximum.reduceat(np.where(active, self._limits[which], 1.0), starts)
        return times


def effect(grants: Iterable[Grant], at_ms: Array) -> tuple[Array, Array]:
    """[moment, family] thresholds raised and raw scores taken off by all these grants; see `Grants.effect`."""
    table, n = Grants(sorted(grants, key=order_of)), len(at_ms)
    if not table.rows:
        return np.zeros((n, len(FAMILIES))), np.zeros((n, len(FAMILIES)))
    each = len(table.rows)
    return table.effect(np.tile(np.arange(each), n), np.arange(n) * each, np.repeat(at_ms, each))


def covers(window: AnnouncedConfig, key_id: str, facts: KeyFacts) -> bool:
    """Whether the key matches every scope the announcement gives; patterns tell capitals from small letters.

    A key goes by its own name and by those of the keys that it took over from.

    >>> told = {"what": "load test", "owner": "ann", "reason": "r", "from": "2026-11-23", "until": "2026-11-24"}
    >>> window = AnnouncedConfig.model_validate(told | {"teams": ["se*"], "envs": ["prod"]})
    >>> [covers(window, "k", KeyFacts(provider="openai", team="search", env=env)) for env in ("prod", "dev")]
    [True, False]
    """
    names = (key_id, *facts.formerly)
    if window.keys and not any(fnmatchcase(name, each) for name in names for each in window.keys):
        return False
    scopes = ((window.teams, facts.team), (window.apps, facts.app), (window.envs, facts.env))
    return all(not wanted or any(fnmatchcase(value, each) for each in wanted) for wanted, value in scopes)
