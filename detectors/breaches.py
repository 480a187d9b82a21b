"""What policies forbid, row by row: models, endpoints, places, the length of a request, hours.

Models are asked of every key and remembered there (`keys.py`). The rest concerns keys that have such a rule, and costs
the others nothing: each distinct combination of rules and text, or minute, of a frame is asked about once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Literal, NamedTuple, Protocol

import numpy as np

from detectors import rows as r
from detectors.addresses import OTHER
from detectors.close import Told
from detectors.explain import number
from detectors.state import Array
from schemas.records import rfc3339

Breach = Literal[
    "models", "endpoints", "networks", "countries", "max_input_tokens", "max_output_tokens", "hours"
]  # fmt: skip
BITS: Final[Mapping[Breach, int]] = {
    "models": 1, "endpoints": 2, "networks": 4, "countries": 8, "max_input_tokens": 16, "max_output_tokens": 32,
    "hours": 64,
}  # fmt: skip
"""What `rows.FORBIDDEN` is the sum of."""
SETTING: Final[Mapping[Breach, str]] = {
    "models": "allowed_models", "endpoints": "allowed_endpoints", "networks": "networks", "countries": "countries",
    "max_input_tokens": "max_input_tokens", "max_output_tokens": "max_output_tokens", "hours": "hours",
}  # fmt: skip
"""What findings call it: the `detector`."""
TEXTS: Final[Mapping[Breach, str]] = {"endpoints": "endpoint", "networks": "ip", "countries": "country"}
"""The frame's columns that are asked about as text."""
WATCHED: Final = frozenset({*BITS} - {"models"})
_STANDS_IN: Final[Mapping[Breach, tuple[int, str, str]]] = {
    "endpoints": (r.ENDPOINT, "endpoint", "calls {0}"), "networks": (r.NETWORK, "network", "is used from {0}"),
    "countries": (r.COUNTRY, "country", "is used from {0}"),
}  # fmt: skip
_SPARSE, _FEW = 8, 65_536  # where sorting what is there is cheaper than looking at all that could be
_OF_PLACE: Final = BITS["networks"] | BITS["countries"]
_SIDE: Final[Mapping[Breach, str]] = {"max_input_tokens": "input", "max_output_tokens": "output"}


class Written(Protocol):
    """One rule as somebody wrote it."""

    @property
    def policy(self) -> str: ...
    @property
    def owner(self) -> str: ...
    @property
    def words(self) -> str: ...
    @property
    def limit(self) -> float: ...


class Holding(Protocol):
    """The rules of a key as they hold at one moment."""

    def refuses(self, kind: str, text: str, /) -> Written | None: ...
    def closed(self, at_ms: int, /) -> Written | None: ...
    def longest(self, kind: str, /) -> float: ...
    def of_kind(self, kind: str, /) -> Sequence[Written]: ...
    @property
    def spans(self) -> Sequence[tuple[int, int]]: ...


class Watch(Protocol):
    """The rules of a key over time. Keys alike share one; one that is `steady` is the same at every moment."""

    @property
    def kinds(self) -> frozenset[str]: ...
    @property
    def steady(self) -> bool: ...
    @property
    def moments(self) -> Sequence[int]: ...
    def at(self, at_ms: int, /) -> Holding: ...


class Seen(NamedTuple):
    """Rows of a frame, as far as these rules ask. One entry per row, texts as places in their lists."""

    numbers: Array  # of the key's watch; 0: it has none
    ts_ms: Array
    matrix: Array  # of `detectors.rows`, with FORBIDDEN for models filled in
    text: Callable[[str], tuple[Array, list[str]]]  # a column of the frame
    addresses: Callable[[], tuple[Array, Array]]  # the column of addresses, its list as numbers


def mark(seen: Seen, watches: Sequence[Watch | None]) -> None:
    """Fill in FORBIDDEN for all that is not about models, and take back what an exception allows of those."""
    rows = np.flatnonzero(seen.numbers)
    if not len(rows):
        return
    holdings, place = _holdings(seen.numbers[rows], seen.ts_ms[rows], watches)
    kinds: frozenset[str] = frozenset().union(*(watch.kinds for watch in watches if watch is not None))
    forbidden = seen.matrix[r.FORBIDDEN]
    for kind in (each for each in TEXTS if each in kinds):
        if kind == "networks":
            asked = _outside(seen, rows, holdings, place)
        else:
            codes, texts = seen.text(TEXTS[kind])
            asked = _asked(place, codes[rows], lambda at, code: _refused(holdings[at], kind, texts, code))  # noqa: B023
        forbidden[rows[asked]] |= BITS[kind]
    if "hours" in kinds:
        closed = _asked(
            place, seen.ts_ms[rows] // 60_000, lambda at, minute: holdings[at].closed(minute * 60_000) is not None
        )
        forbidden[rows[closed]] |= BITS["hours"]
    for kind in (each for each in _SIDE if each in kinds):
        most = np.array([holding.longest(kind) for holding in holdings])[place]
        forbidden[rows[length_of(kind, seen.matrix)[rows] > most]] |= BITS[kind]
    _excuse_models(seen, rows, holdings, place)


def served(matrix: Array) -> None:
    """Forget what was refused: nothing was given. But who calls from a forbidden place holds the key all the same."""
    broken = np.flatnonzero(matrix[r.FORBIDDEN])
    if len(broken):
        refused = broken[matrix[r.REFUSED, broken] > 0]
        matrix[r.FORBIDDEN, refused] &= _OF_PLACE


def length_of(kind: str, rows: Array) -> Array:
    """Tokens of one request of each row, sent or answered."""
    tokens = rows[r.INPUT] if kind == "max_input_tokens" else rows[r.TOKENS] - rows[r.INPUT]
    length: Array = tokens / np.maximum(rows[r.REQUESTS], 1)
    return length


def _holdings(numbers: Array, ts_ms: Array, watches: Sequence[Watch | None]) -> tuple[list[Holding], Array]:
    """The distinct sets of rules that these rows are under, and which of them each row is."""
    distinct, place = _distinct(numbers)
    found = [_watch(watches, at) for at in distinct.tolist()]
    holdings = [watch.at(int(ts_ms[0])) for watch in found]
    for at in [at for at, watch in enumerate(found) if not watch.steady]:
        mine = np.flatnonzero(place == at)  # an exception begins or ends at its millisecond
        _, first, part = np.unique(
            np.searchsorted(found[at].moments, ts_ms[mine], side="right"), return_index=True, return_inverse=True
        )
        place[mine] = len(holdings) + part
        holdings += [found[at].at(int(ts_ms[mine[row]])) for row in first.tolist()]
    return holdings, place


def _watch(watches: Sequence[Watch | None], number: int) -> Watch:
    watch = watches[number]
    assert watch is not None  # noqa: S101 - 0 alone stands for none
    return watch


def _asked(place: Array, values: Array, ask: Callable[[int, int], bool]) -> Array:
    """One answer per row; each distinct pair is asked about once."""
    least = int(values.min())
    width = int(values.max()) - least + 1
    pairs, member = _distinct(place * width + (values.astype(np.int64) - least))
    answers = np.array([ask(pair // width, least + pair % width) for pair in pairs.tolist()], bool)
    told: Array = answers[member]
    return told


def _distinct(values: Array) -> tuple[Array, Array]:
    """What `np.unique` says of numbers from 0 on; without sorting, while they are not far apart."""
    span = int(values.max()) + 1
    if span > _SPARSE * len(values) + _FEW:
        distinct, member = np.unique(values, return_inverse=True)
        return distinct, member
    there = np.zeros(span, bool)
    there[values] = True
    return np.flatnonzero(there), (np.cumsum(there) - 1)[values]


def _outside(seen: Seen, rows: Array, holdings: list[Holding], place: Array) -> Array:
    """Which rows come from an address outside what their rules allow: one search for all, whoever holds which rules.

    What is not IPv4 is asked about as text.
    """
    codes, numbers = seen.addresses()
    codes = codes[rows]
    number = numbers[codes]
    spans = [((at << 32) + low, (at << 32) + high) for at, one in enumerate(holdings) for low, high in one.spans]
    lows, highs = np.array([(-1, -1), *spans], np.int64).T  # before all others one that holds nothing
    asked = (place << 32) + number
    outside: Array = (number >= 0) & (asked > highs[np.searchsorted(lows, asked, side="right") - 1])
    odd = np.flatnonzero(number == OTHER)
    if len(odd):
        _, texts = seen.text(TEXTS["networks"])
        outside[odd] = _asked(place[odd], codes[odd], lambda at, code: _refused(holdings[at], "networks", texts, code))
    return outside


def _refused(holding: Holding, kind: str, texts: list[str], code: int) -> bool:
    """A source that does not say it is no breach."""
    return code < len(texts) and bool(texts[code]) and holding.refuses(kind, texts[code]) is not None


def _excuse_models(seen: Seen, rows: Array, holdings: list[Holding], place: Array) -> None:
    banned = np.flatnonzero(seen.matrix[r.FORBIDDEN, rows] & BITS["models"])
    if not len(banned):
        return
    codes, texts = seen.text("model")
    refused = _asked(place[banned], codes[rows[banned]], lambda at, code: _refused(holdings[at], "models", texts, code))
    seen.matrix[r.FORBIDDEN, rows[banned[~refused]]] &= ~BITS["models"]


def times_the_limit(kind: Breach, rows: Array, watch: Watch | None) -> Array:
    """How many times each of one key's rows uses a limit up; of lists and hours it is a yes: 1."""
    if kind not in _SIDE or watch is None:
        return np.ones(rows.shape[1])
    seconds, place = np.unique(rows[r.TS], return_inverse=True)
    longest = np.array([watch.at(second * 1000).longest(kind) for second in seconds.tolist()])
    times: Array = length_of(kind, rows) / longest[place]
    return times


def explain(kind: Breach, rows: Array, watch: Watch | None, name_of: Callable[[int], str]) -> Told:
    """The sentence for one key's rows of a second that broke a rule other than of models."""
    holding = watch.at(int(rows[r.TS].min()) * 1000) if watch is not None else None
    if kind in _SIDE:
        return _too_long(kind, rows, holding)
    if kind == "hours":
        at_ms = int(rows[r.TS].min()) * 1000
        rule = holding.closed(at_ms) if holding else None
        when = f"{rfc3339(at_ms)[:16].replace('T', ' ')} UTC"
        allowed = f", which allows {rule.words}" if rule else ""
        return Told("hours", f"is used at {when}, outside the hours of {_owner(rule)}{allowed}",
                    {"observed": 1.0, "at": rfc3339(at_ms), "policy": _policy(rule)})  # fmt: skip
    column, noun, does = _STANDS_IN[kind]
    text = name_of(int(rows[column].min())) or f"another {noun}"
    rule = _rule_of(holding, kind, text)
    return Told(SETTING[kind], f"{does.format(text)}, which {_owner(rule)} does not allow",
                {"observed": 1.0, noun: text, "policy": _policy(rule)})  # fmt: skip


def _too_long(kind: Breach, rows: Array, holding: Holding | None) -> Told:
    length, limit = float(length_of(kind, rows).max()), holding.longest(kind) if holding else float("inf")
    rule = min(holding.of_kind(kind), key=lambda one: one.limit, default=None) if holding else None
    what = f"{'sends' if kind == 'max_input_tokens' else 'takes'} {number(length)} {_SIDE[kind]} tokens in a request"
    return Told(kind, f"{what}, {_owner(rule)} allows {number(limit)}",
                {"observed": length, "limit": limit, "ratio": length / limit, "policy": _policy(rule)})  # fmt: skip


def _rule_of(holding: Holding | None, kind: Breach, text: str) -> Written | None:
    """The rule that a row broke. Of an address the row keeps its network alone."""
    if holding is None:
        return None
    known = holding.refuses(kind, text.partition("/")[0] if kind == "networks" else text)
    return known or _first(holding.of_kind(kind))


def _first(rules: Iterable[Written]) -> Written | None:
    return next(iter(rules), None)


def _owner(rule: Written | None) -> str:
    return rule.owner if rule is not None else "a policy no longer in force"


def _policy(rule: Written | None) -> str:
    return (rule.policy or rule.owner) if rule is not None else "no longer in force"
