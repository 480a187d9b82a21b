"""Uses of many keys as parallel columns. No dicts: a whole fortnight is a few arrays. `frames.py` makes frames of them.

Everything that plays in this benchmark (owners, thieves, hard negatives) is a `Uses`. Texts are codes of one `Texts`
table, keys are places in the ledger's list of owners. What is not stated costs nothing: `priced` fills the money in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sources.simulator.prices import unit_prices

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

NOBODY: Final = -1  # in `Uses.actor`: the owner
NULL: Final = -1  # in a text column
START_MS: Final = 1_793_577_600_000  # 2026-11-02, a Monday: the published dates were removed
HOUR_MS: Final = 3_600_000
DAY_MS: Final = 86_400_000
WEEK_MS: Final = 7 * DAY_MS
_UNPAID: Final = 0xFFFFFFFF


class Texts:
    """One number for each distinct text, in the order of first sight."""

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}
        self._texts: list[str] = []

    def code(self, text: str | None) -> int:
        """The text's number; -1 for None."""
        if text is None:
            return NULL
        known = self._codes.get(text)
        if known is None:
            known = self._codes[text] = len(self._texts)
            self._texts.append(text)
        return known

    def codes(self, texts: Sequence[str | None]) -> Ints:
        return np.array([self.code(text) for text in texts], np.int64)

    def text(self, code: int) -> str | None:
        return None if code < 0 else self._texts[code]


class Owner(NamedTuple):
    """What every event of a key says of it."""

    key_id: str
    provider: str  # as the price table names it
    team: str
    app: str
    env: str


class Uses(NamedTuple):
    """Requests, one per row (or a bucket of `requests` of them). All columns have one length.

    `key` is a place in `Ledger.owners`; `model`, `endpoint`, `error`, `ip`, `country` and `agent` are codes of
    `Ledger.texts`, -1 for none. `input_tokens` include `cached_tokens` and `written_tokens`. `actor` is -1 for the
    key's owner, else the number of the theft (or negative) the row belongs to: detectors never see it.
    """

    key: Ints
    ts_ms: Ints
    model: Ints
    endpoint: Ints
    requests: Ints
    input_tokens: Ints
    cached_tokens: Ints
    written_tokens: Ints
    output_tokens: Ints
    cost_nano_usd: Ints
    status: Ints
    error: Ints
    ip: Ints
    country: Ints
    agent: Ints
    actor: Ints

    @property
    def rows(self) -> int:
        return len(self.ts_ms)

    def where(self, chosen: Mask | Ints | slice) -> Uses:
        """The rows of a mask, of places, or of a slice."""
        return Uses(*(column[chosen] for column in self))

    def between(self, from_ms: int, until_ms: int) -> Uses:
        """Rows with from_ms <= ts_ms < until_ms; the rows must be in time order."""
        low, high = np.searchsorted(self.ts_ms, (from_ms, until_ms)).tolist()
        return self.where(slice(low, high))

    def in_order(self) -> Uses:
        """By time; equal times keep their order."""
        return self.where(np.argsort(self.ts_ms, kind="stable"))

    def with_columns(self, **columns: Ints | int) -> Uses:
        """Some columns replaced, each by an array or by one value for all rows."""
        return self._replace(**{name: _filled(value, self.rows) for name, value in columns.items()})

    @property
    def usd(self) -> float:
        """What all rows cost together."""
        return int(self.cost_nano_usd.sum()) / 1e9


_DEFAULTS: Final[dict[str, int]] = {
    "model": NULL, "endpoint": NULL, "requests": 1, "input_tokens": 0, "cached_tokens": 0, "written_tokens": 0,
    "output_tokens": 0, "cost_nano_usd": 0, "status": 200, "error": NULL, "ip": NULL, "country": NULL, "agent": NULL,
    "actor": NOBODY,
}  # fmt: skip


def uses(*, key: Ints | int, ts_ms: Ints, **columns: Ints | int) -> Uses:
    """Uses of these columns; each is an array or one value for all rows, and what is not named has its default.

    >>> two = uses(key=3, ts_ms=np.array([10, 20]), output_tokens=7)
    >>> two.key.tolist(), two.requests.tolist(), two.output_tokens.tolist(), two.actor.tolist()
    ([3, 3], [1, 1], [7, 7], [-1, -1])
    """
    named: dict[str, Ints | int] = {**_DEFAULTS, "key": key, "ts_ms": ts_ms, **columns}
    return Uses(*(_filled(named[name], len(ts_ms)) for name in Uses._fields))


def nothing() -> Uses:
    return uses(key=0, ts_ms=np.zeros(0, np.int64))


def merged(parts: Sequence[Uses]) -> Uses:
    """All rows of all parts in time order; of equal times the earlier part's first."""
    if not parts:
        return nothing()
    return Uses(*(np.concatenate(columns) for columns in zip(*parts, strict=True))).in_order()


def _filled(value: Ints | int, rows: int) -> Ints:
    return np.full(rows, value, np.int64) if isinstance(value, int) else np.asarray(value, np.int64)


@dataclass
class Ledger:
    """The keys of a run, and the texts that their uses name by number. Add texts at any time, owners never move."""

    owners: list[Owner]
    texts: Texts = field(default_factory=Texts)

    def key_ids(self, keys: Ints) -> list[str]:
        return [self.owners[key].key_id for key in keys.tolist()]

    def priced(self, rows: Uses) -> Uses:
        """With `cost_nano_usd` from the price table, by the provider of each row's key and its model.

        Rows that failed (status 400 and above) and rows without a model cost nothing. LookupError for a model that
        the provider's table does not have.
        """
        paid = (rows.status < 400) & (rows.model >= 0)
        groups = {provider: at for at, provider in enumerate(sorted({owner.provider for owner in self.owners}))}
        of_key = np.array([groups[owner.provider] for owner in self.owners], np.int64)
        pairs, member = np.unique((of_key[rows.key] << 32) | np.where(paid, rows.model, _UNPAID), return_inverse=True)
        table = np.array([self._rates(list(groups)[pair >> 32], pair & _UNPAID) for pair in pairs.tolist()])
        rate = table.reshape(-1, 4)[member] * paid[:, None]
        plain = np.maximum(rows.input_tokens - rows.cached_tokens - rows.written_tokens, 0)
        tokens = (plain, rows.cached_tokens, rows.written_tokens, rows.output_tokens)
        nano = sum(count * rate[:, at] for at, count in enumerate(tokens))
        return rows._replace(cost_nano_usd=np.rint(nano).astype(np.int64))

    def _rates(self, provider: str, model: int) -> tuple[float, float, float, float]:
        """Nano-dollars per token: plain input, cached, written to the cache, output."""
        if model == _UNPAID:
            return (0.0, 0.0, 0.0, 0.0)
        price = unit_prices(provider, str(self.texts.text(model)))
        return (price.input * 1e9, price.cached_input * 1e9, price.cache_write * 1e9, price.output * 1e9)


class KeyHistory(NamedTuple):
    """One key's uses as a baseline sees them: counts and money over time, nothing else. Rows are in time order."""

    start_ms: int  # of the record; the first week is for learning alone
    test_ms: int  # from here on scores count; what a baseline fits beforehand it may fit on everything before
    end_ms: int
    ts_ms: Ints
    requests: Ints
    tokens: Ints  # input and output
    cost_usd: Floats

    @staticmethod
    def of(rows: Uses, *, start_ms: int, test_ms: int, end_ms: int) -> KeyHistory:
        """The history of rows that belong to one key."""
        tokens = rows.input_tokens + rows.output_tokens
        return KeyHistory(start_ms, test_ms, end_ms, rows.ts_ms, rows.requests, tokens, rows.cost_nano_usd / 1e9)
