"""What was used and what it cost, each figure from the view `costs`. Blocking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple, get_args

from storage.store import Store

Dimension = Literal["team", "app", "feature", "env", "owner", "key", "provider", "model", "user", "day"]
DIMENSIONS: Final[tuple[Dimension, ...]] = get_args(Dimension)
_COLUMNS: Final[Mapping[Dimension, str]] = {"key": "key_id", "user": "user_id", "day": "toString(toDate(ts))"}
_SUMS: Final = ("events", "requests", "errors", "unpriced", "input_tokens", "cached_input_tokens",
                "cache_write_tokens", "output_tokens", "reasoning_tokens", "cost_nano_usd")  # fmt: skip
_IN_TIME: Final = "ts >= fromUnixTimestamp64Milli({since:Int64}) AND ts < fromUnixTimestamp64Milli({until:Int64})"


class CostSum(NamedTuple):
    """All uses of one group, each counted once."""

    group: tuple[str, ...]  # in the order of the dimensions that were asked for
    events: int
    requests: int
    errors: int
    unpriced: int  # requests of models without a price: they count, and cost nothing here
    input_tokens: int
    cached_input_tokens: int
    cache_write_tokens: int
    output_tokens: int
    reasoning_tokens: int
    cost_nano_usd: int
    users: int  # distinct; events that name no user are not among them
    user_nano_usd: int  # what the events that name a user cost


class Move(NamedTuple):
    """What one group cost in two spans of the same length."""

    group: tuple[str, ...]
    before_nano_usd: int
    after_nano_usd: int


class Scope(NamedTuple):
    """Which uses are asked for: those of [since, until), and of these owners where they are named."""

    since_ms: int
    until_ms: int
    team: str = ""
    app: str = ""
    env: str = ""

    def where(self) -> tuple[str, dict[str, Any]]:
        named = {name: value for name in ("team", "app", "env") if (value := getattr(self, name))}
        clauses = [_IN_TIME, *(f"{name} = {{{name}:String}}" for name in named)]
        return " AND ".join(clauses), {"since": self.since_ms, "until": self.until_ms, **named}


def sums(store: Store, scope: Scope, by: Sequence[Dimension], *, limit: int = 10_000) -> list[CostSum]:
    """One row for each group, dearest first; without dimensions one row of all, which is there when nothing was used.

    ValueError for a dimension that the view does not have.
    """
    where, parameters = scope.where()
    names = [f"d{place}" for place in range(len(by))]
    rows = store.connection.rows(
        f"""
        SELECT {", ".join([*_named(by), *(f"sum(c.{name})" for name in _SUMS)])},
            uniqExactIf(c.user_id, c.user_id != ''), sumIf(c.cost_nano_usd, c.user_id != '')
        FROM costs AS c WHERE {where}
        {f"GROUP BY {', '.join(names)}" if by else ""}
        ORDER BY sum(c.cost_nano_usd) DESC{", ".join(["", *names])} LIMIT {{limit:UInt32}}""",  # noqa: S608 - our own
        {**parameters, "limit": limit},
    )
    return [CostSum(tuple(row[: len(by)]), *map(int, row[len(by) :])) for row in rows]


def hours(store: Store, scope: Scope) -> list[tuple[int, int]]:
    """Hours in which something was used, oldest first: when each began (ms) and what was spent in it (nano-USD)."""
    where, parameters = scope.where()
    rows = store.connection.rows(
        f"""
        SELECT toUnixTimestamp(toStartOfHour(toDateTime(ts, 'UTC'))) * 1000 AS hour, sum(cost_nano_usd)
        FROM costs WHERE {where} GROUP BY hour ORDER BY hour""",  # noqa: S608 - our own
        parameters,
    )
    return [(int(hour), int(nano)) for hour, nano in rows]


def rollup_nano_usd(store: Store, since_ms: int, until_ms: int) -> int:
    """The same money as the hourly rollup has it, which counts an event by its first word. For whole hours."""
    [(nano,)] = store.connection.rows(
        "SELECT sum(cost_nano_usd) FROM usage_hour WHERE at >= toDateTime(intDiv({since:Int64}, 1000))"
        " AND at < toDateTime(intDiv({until:Int64}, 1000))",
        {"since": since_ms, "until": until_ms},
    )
    return int(nano)


def movers(store: Store, scope: Scope, by: Sequence[Dimension], *, limit: int = 10) -> list[Move]:
    """Groups whose cost differs most between the scope's span and the one of the same length before it."""
    earlier = scope._replace(since_ms=2 * scope.since_ms - scope.until_ms)
    where, parameters = earlier.where()
    names = [f"d{place}" for place in range(len(by))]
    rows = store.connection.rows(
        f"""
        SELECT {", ".join(_named(by))}, sumIf(c.cost_nano_usd, NOT c.ts >= fromUnixTimestamp64Milli({{turn:Int64}})),
            sumIf(c.cost_nano_usd, c.ts >= fromUnixTimestamp64Milli({{turn:Int64}})) AS later
        FROM costs AS c WHERE {where} GROUP BY {", ".join(names)}
        HAVING sum(c.cost_nano_usd) > 0
        ORDER BY abs(2 * later - sum(c.cost_nano_usd)) DESC, {", ".join(names)} LIMIT {{limit:UInt32}}""",  # noqa: S608
        {**parameters, "turn": scope.since_ms, "limit": limit},
    )
    return [Move(tuple(row[: len(by)]), int(row[-2]), int(row[-1])) for row in rows]


def _named(by: Sequence[Dimension]) -> list[str]:
    unknown = sorted(set(by) - set(DIMENSIONS))
    if unknown:
        raise ValueError(f"{', '.join(unknown)}: expected some of {', '.join(DIMENSIONS)}")
    return [f"toString({_COLUMNS.get(name, 'c.' + name)}) AS d{place}" for place, name in enumerate(by)]
