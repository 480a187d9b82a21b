"""Keyfuse's way of judging velocity as a detector for one series of numbers.

Novelty against the series' own decayed extremes, in eight views of it, hour of day included; agreeing views add up;
after an alarm there is rest. One configuration for everything. Nothing is known of a series but what has been seen of
it so far: neither its length nor its range, and no label.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from benchmarks.nab.records import Records
from benchmarks.nab.views import HourBand, Share, Trailing, Wobble

_HISTORY: Final = 8192  # values that ranks are taken among
_HIGH: Final = 0.9
_RARE: Final = 0.025  # of the values, on either side


@dataclass(frozen=True)
class Settings:
    """The one configuration; other values only serve to measure how much was gained by choosing these.

    `young`: points after which a novelty counts half of what it will count in the end: early on, everything is new.
    `quiet`: the least strength worth an alarm. `rest`: points after an alarm within which only one `louder` times as
    strong passes.
    """

    block: int = 50
    young: float = 1000.0
    quiet: float = 0.25
    rest: int = 100
    louder: float = 5.0


class Voice:
    """Which of the news are told, and how loudly."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._last, self._at = 0.0, -settings.rest - 1

    def say(self, at: int, news: float) -> float:
        """Score of the point number `at`, from 0 to below 1. Points without news may be left out.

        >>> voice = Voice(Settings(young=0.0, quiet=0.2, rest=10, louder=2.0))
        >>> [round(voice.say(at, news), 2) for at, news in ((1, 0.1), (2, 1.0), (9, 1.5), (10, 3.0), (21, 1.0))]
        [0.0, 0.5, 0.0, 0.75, 0.5]
        """
        told = self._settings
        strength = news * at / (at + told.young) if at else 0.0
        if at - self._at > told.rest:
            self._last = 0.0
        if strength < told.quiet or strength <= told.louder * self._last:
            return 0.0
        self._last, self._at = strength, at
        return strength / (1.0 + strength)


class Detector:
    """One series, point by point."""

    def __init__(self, settings: Settings | None = None) -> None:
        settings = settings or Settings()
        self._seen = 0
        self._previous = 0.0
        self._wobble = Wobble()
        self._hours = HourBand()
        self._away = Trailing(6)
        self._level, self._near = Trailing(51), Trailing(48)
        self._steps = Trailing(12)
        self._history = Trailing(_HISTORY)
        self._often_high, self._often_rare = Share(96), Share(48)
        self._of_views = [Records(settling, settings.block) for settling in (20, 20, 20, 51, 48, 20)]
        self._of_shares = [Records(settling, settings.block) for settling in (146, 98)]
        self._voice = Voice(settings)

    def score(self, time_s: float, value: float) -> float:
        """Anomaly of this point, from 0 to below 1; then it is learned.

        >>> detector = Detector()
        >>> steady = [detector.score(300.0 * at, float(at % 7)) for at in range(1000)]
        >>> max(steady), detector.score(300_000.0, 20.0) > 0.4
        (0.0, True)
        """
        at = self._seen
        return self._voice.say(at, self.news(time_s, value))

    def news(self, time_s: float, value: float) -> float:
        """How new this point is in all views together, before it is decided what is told; then it is learned."""
        unit = self._wobble.usual
        views, shares = self._views(time_s, value), self._shares(value)
        news = sum([records.novelty(view, unit) for records, view in zip(self._of_views, views, strict=True)])
        news += sum([records.novelty(share, 1.0) for records, share in zip(self._of_shares, shares, strict=True)])
        self._wobble.add(value)
        self._seen += 1
        return news

    def _views(self, time_s: float, value: float) -> tuple[float, ...]:
        """The value, its distance from the hour's band, that of late, its level, its spread, its usual step."""
        away = self._hours.outside(time_s, value)
        self._away.add(away)
        self._level.add(value)
        self._near.add(value)
        self._steps.add(abs(value - self._previous) if self._seen else 0.0)
        self._previous = value
        return value, away, self._away.median(), self._level.median(), self._near.spread(), self._steps.median()

    def _shares(self, value: float) -> tuple[float, float]:
        """How often values were high of late, and how often rare, by their rank in the history before them."""
        rank = self._history.rank(value)
        self._history.add(value)
        return self._often_high.add(so=rank > _HIGH), self._often_rare.add(so=abs(rank - 0.5) > 0.5 - _RARE)
