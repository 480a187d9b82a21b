"""The cost plane: which budgets a key is under, and which stretch of time each of them speaks of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import Final, NamedTuple, Protocol

from schemas.config.budgets import BudgetConfig, BudgetsConfig, Period
from schemas.key_record import KeyRecord
from schemas.records import KeyFacts
from schemas.spend import BudgetStatus

_CACHE_LIMIT: Final = 200_000
QUOTA: Final = "quota of "
"""Begins the name of the budget that a key's own daily quota is."""
_HOUR_MS: Final = 3_600_000
_ROLLING_MS: Final[dict[Period, int]] = {
    "rolling_1h": _HOUR_MS,
    "rolling_24h": 24 * _HOUR_MS,
    "rolling_7d": 7 * 24 * _HOUR_MS,
    "rolling_30d": 30 * 24 * _HOUR_MS,
}
_LAST: Final[dict[Period, str]] = {
    "rolling_1h": "last hour",
    "rolling_24h": "last 24 h",
    "rolling_7d": "last 7 days",
    "rolling_30d": "last 30 days",
}


class Scoped(Protocol):
    """Whoever has a team, an app and an environment: what is known of a key, or a group of keys."""

    @property
    def formerly(self) -> tuple[str, ...]: ...
    @property
    def team(self) -> str: ...
    @property
    def app(self) -> str: ...
    @property
    def env(self) -> str: ...


class Span(NamedTuple):
    """One period: what is spent from `from_ms` on and before `until_ms` counts. A rolling one ends now."""

    name: str
    from_ms: int
    until_ms: int


def is_rolling(period: Period) -> bool:
    """Whether it has no end at which all is free again.

    >>> is_rolling("rolling_24h"), is_rolling("day")
    (True, False)
    """
    return period in _ROLLING_MS


def period_of(period: Period, at_ms: int) -> Span:
    """The period that `at_ms` lies in; of a rolling one the stretch that ends with it, itself included.

    >>> at_ms = 1_795_428_000_000  # 2026-11-23T10:00:00Z, a Monday
    >>> [period_of(period, at_ms).name for period in ("hour", "day", "week", "month", "rolling_24h")]
    ['2026-11-23 10:00', '2026-11-23', '2026-W48', '2026-11', 'last 24 h']
    >>> name, from_ms, until_ms = period_of("week", at_ms)
    >>> (at_ms - from_ms) // 3_600_000, (until_ms - from_ms) // 3_600_000
    (10, 168)
    """
    if period in _ROLLING_MS:
        return Span(_LAST[period], at_ms + 1 - _ROLLING_MS[period], at_ms + 1)
    hour = datetime.fromtimestamp(at_ms / 1000, UTC).replace(minute=0, second=0, microsecond=0)
    if period == "hour":
        return _span(f"{hour:%Y-%m-%d %H:00}", hour, hour + timedelta(hours=1))
    day = hour.replace(hour=0)
    if period == "day":
        return _span(f"{day:%Y-%m-%d}", day, day + timedelta(days=1))
    if period == "week":
        monday = day - timedelta(days=day.weekday())
        return _span(f"{monday:%G-W%V}", monday, monday + timedelta(days=7))
    first = day.replace(day=1)
    return _span(f"{first:%Y-%m}", first, (first + timedelta(days=32)).replace(day=1))


def _span(name: str, start: datetime, end: datetime) -> Span:
    return Span(name, int(start.timestamp()) * 1000, int(end.timestamp()) * 1000)


def scope_of(budget: BudgetConfig) -> str:
    """What it covers, in words.

    >>> scope_of(BudgetConfig(name="b", teams=("search", "ads"), envs=("prod",), usd=1))
    'team=search|ads env=prod'
    >>> scope_of(BudgetConfig(name="all", usd=1))
    'everything'
    """
    parts = (("key", budget.keys), ("team", budget.teams), ("app", budget.apps), ("env", budget.envs))
    return " ".join(f"{name}={'|'.join(wanted)}" for name, wanted in parts if wanted) or "everything"


def as_told(budget: BudgetConfig, status: BudgetStatus | None) -> BudgetConfig:
    """With the limits that its desk goes by: an exception may have set others for a time than are written.

    A unit that the budget does not limit stays so.
    """
    if status is None:
        return budget
    usd, tokens = budget.usd, budget.tokens
    if usd is not None and status.limit_nano_usd is not None and round(usd * 1e9) != status.limit_nano_usd:
        usd = status.limit_nano_usd / 1e9
    if tokens is not None and status.limit_tokens is not None:
        tokens = status.limit_tokens
    if (usd, tokens) == (budget.usd, budget.tokens):
        return budget
    return budget.model_copy(update={"usd": usd, "tokens": tokens})


class Quota(BudgetConfig):
    """A key's own daily quota as a budget: of that key alone, for whoever takes over from it has one of its own."""

    formerly: tuple[str, ...] = ()
    """The keys that the key took over from."""


def quota_of(entry: KeyRecord) -> Quota | None:
    """A key's own daily quota as a budget of that key: refused when it is used up.

    The name is what alerts and refusals call it: "quota of k1".
    """
    if entry.quota_usd_per_day is None:
        return None
    return Quota(
        name=f"{QUOTA}{entry.key_id}", keys=(entry.key_id,), period="day", usd=entry.quota_usd_per_day,
        owner=entry.owner, soft_percent=(80,), projected=False, burn_rate=False, hard_stop=True,
        formerly=entry.formerly,
    )  # fmt: skip


class Budgets:
    """`budgets.yaml` and the quotas of keys, ready to be asked. Answers are remembered.

    >>> config = BudgetsConfig(budgets=(
    ...     BudgetConfig(name="all", usd=900), BudgetConfig(name="search", teams=("search*",), envs=("prod",), usd=50),
    ... ))
    >>> facts = KeyFacts(provider="openai", team="search-ui", env="prod")
    >>> [budget.name for budget in Budgets(config).covering("k1", facts)]
    ['all', 'search']
    """

    def __init__(self, config: BudgetsConfig, entries: Iterable[KeyRecord] = ()) -> None:
        quotas = [quota for entry in entries if (quota := quota_of(entry))]
        written = {budget.name for budget in config.budgets}
        self._shared = config.budgets
        self._quotas = {quota.keys[0]: quota for quota in quotas if quota.name not in written}
        self._by_name = {budget.name: budget for budget in (*self._shared, *self._quotas.values())}
        self._own = frozenset(key for budget in self._by_name.values() for key in budget.keys)
        self._handed_on = frozenset(key for budget in self._shared for key in budget.keys)
        self._known: dict[tuple[object, ...], tuple[BudgetConfig, ...]] = {}

    def all(self) -> tuple[BudgetConfig, ...]:
        """In the order written, the keys' quotas last."""
        return tuple(self._by_name.values())

    def named(self, name: str) -> BudgetConfig | None:
        return self._by_name.get(name)

    def names(self, key_id: str, formerly: Sequence[str]) -> tuple[str, tuple[str, ...]]:
        """What of a key some budget goes by, so that its spend is kept apart: its own id, and keys that it took over
        from. Both empty where none does.
        """
        return key_id if key_id in self._own else "", tuple(key for key in formerly if key in self._handed_on)

    def covering(self, key_id: str, facts: KeyFacts) -> tuple[BudgetConfig, ...]:
        """Every budget that the key is under. Each holds. Patterns are shell-style and tell upper from lower case."""
        question = (key_id, facts.formerly, facts.team, facts.app, facts.env)
        found = self._known.get(question)
        if found is None:
            if len(self._known) >= _CACHE_LIMIT:
                self._known.clear()
            shared = tuple(budget for budget in self._shared if covers(budget, key_id, facts))
            quota = self._quotas.get(key_id)
            found = self._known[question] = (*shared, quota) if quota else shared
        return found


def covers(budget: BudgetConfig, key_id: str, whose: Scoped) -> bool:
    """Whether the key's spend counts in the budget: it matches every scope that the budget names.

    A key goes by its own name and by those of the keys that it took over from: a new secret is no new budget.
    """
    formerly = () if isinstance(budget, Quota) else whose.formerly
    if budget.keys and key_id not in budget.keys and set(formerly).isdisjoint(budget.keys):
        return False
    scopes = ((budget.teams, whose.team), (budget.apps, whose.app), (budget.envs, whose.env))
    return all(not wanted or any(fnmatchcase(value, each) for each in wanted) for wanted, value in scopes)
