"""One and the same request over and over: an agent in a loop, a retry that never ends.

Prompts are not seen here, but their length is: two requests of exactly as many input tokens are seldom different ones.
The length in the lead among the last requests is found by a majority vote (Boyer and Moore), in which each request of
that length counts for it and each other one against it. Only answered requests count: clients repeat failed ones.

Healthy and looks the same: a benchmark, a load test, an embedding job that has just begun to cut its texts to one
length. A key whose requests are always alike is known for it. Beside `velocity` think of a program that runs away.

To turn: `alarm_per_key_week`. It is told from `velocity.min_usd_per_min` on.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from detectors import surprise
from detectors.close import Close, Shared, Told
from detectors.explain import number, percent
from detectors.rows import FAILED, INPUT, REFUSED, REQUESTS, SLOT, input_length
from detectors.state import Array, Fields, State
from detectors.velocity import worth_waking
from schemas.config.detectors import DetectorSettings

FAMILY: Final = "repetition"
FIELDS: Final[Fields] = {
    "rep_length": ("u4", ()),  # input tokens of the request in the lead
    "rep_fast": ("f4", (2,)),  # its lead, and all answered requests of the last minutes
    "rep_at": ("i4", ()),  # second to which they are faded
    "rep_usual": ("f2", ()),  # usual share of the lead: the decayed maximum of what blocks showed
    "rep_peak": ("f2", (3,)),  # highest share and highest surprise within this block; usual highest surprise
}
_FADE_S: Final = 600.0
_EXPECTED_FLOOR: Final = 3.0  # equal requests that are always expected: a poll, a health check
_OF_AT_LEAST: Final = 10.0  # requests: one of one is no habit yet
_FADE_USUAL: Final = 0.999  # per active block
_RISE_SHARE: Final = 0.2  # by which the usual share may grow in a healthy block
_RISE: Final = 1.0  # and the usual surprise
_RISE_ALARMED: Final = 0.2  # and both in an alarmed one, by this part
_BELOW_PEAK: Final = 0.5  # below the usual peak at which a score begins: the healthy ones are to be counted
_GROWN_UP: Final = 12.0  # active blocks at which a surprise counts half
_MOST: Final = 9.0


def step(state: State, close: Close, settings: DetectorSettings) -> tuple[State, Array]:
    """Raw score: -log10 of the chance of so many equal requests among the last, beyond the key's usual peak.

    >>> from detectors.examples import blank, closing
    >>> state = blank(FIELDS)
    >>> raws = []
    >>> for second in range(60):
    ...     at = closing(row_requests=1, row_input=700 if second >= 30 else 600 + second, second=second)
    ...     state, raw = step(state, at, DetectorSettings())
    ...     raws.append(round(float(raw[0]), 1))
    >>> raws[29], raws[44], raws[59]
    (0.0, 4.6, 8.0)
    """
    new = {name: values.copy() for name, values in state.items()}
    if close.turned.any():
        _learn(new, close)
    new["rep_fast"] *= np.exp((new["rep_at"] - close.second) / _FADE_S).astype("f4")[:, None]
    new["rep_at"] = close.second.astype("i4")
    _vote(new, close)
    lead, made = new["rep_fast"].astype("f8").T
    share = lead / np.maximum(made, _OF_AT_LEAST)
    expected = made * new["rep_usual"] + _EXPECTED_FLOOR
    surprised = surprise.poisson(lead, expected, most=_MOST)
    new["rep_peak"][:, 0] = np.maximum(new["rep_peak"][:, 0], share)
    new["rep_peak"][:, 1] = np.maximum(new["rep_peak"][:, 1], surprised)
    usual_peak = np.maximum(new["rep_peak"][:, 2] - _BELOW_PEAK, 0.0)
    raw = np.maximum(surprised - usual_peak, 0.0) * close.windows / (close.windows + _GROWN_UP)
    return new, np.where(close.requests >= settings.repetition.min_requests, raw, 0.0)


def _vote(new: State, close: Close) -> None:
    """The second's answered requests vote; where the lead is lost, the second's own most frequent length takes it."""
    answered = close.rows[REQUESTS] - close.rows[REFUSED] - close.rows[FAILED]
    rows = close.rows[:, (answered > 0) & (close.rows[INPUT] > 0)]
    if not rows.shape[1]:
        return
    key, votes = rows[SLOT], answered[(answered > 0) & (close.rows[INPUT] > 0)]
    length = np.minimum(input_length(rows), np.iinfo(np.uint32).max)
    n = len(close.second)
    same = np.bincount(key, votes * (length == new["rep_length"][key]), minlength=n)
    made = np.bincount(key, votes, minlength=n)
    lead = new["rep_fast"][:, 0] + 2 * same - made
    lost = lead < 0
    if lost.any():
        theirs = lost[key]
        at, other, count = _most_frequent(key[theirs], length[theirs], votes[theirs])
        new["rep_length"][at] = other
        lead[at] = np.clip(2 * count - made[at], 0.0, -lead[at])
    new["rep_fast"][:, 0] = lead
    new["rep_fast"][:, 1] += made.astype("f4")


def _most_frequent(key: Array, length: Array, votes: Array) -> tuple[Array, Array, Array]:
    """Each key that is there, the length with most votes of it and how many it has; of equal ones the shortest."""
    pair = (key << 32) | length
    order = np.argsort(pair)
    pair = pair[order]
    start = np.flatnonzero(np.concatenate(([True], pair[1:] != pair[:-1])))
    count, pair = np.add.reduceat(votes[order], start), pair[start]
    key = pair >> 32
    first = np.flatnonzero(np.concatenate(([True], key[1:] != key[:-1])))
    most = np.maximum.reduceat(count, first)
    leads = np.flatnonzero(count == np.repeat(most, np.diff(first, append=len(key))))
    lead = leads[np.searchsorted(leads, first)]
    return key[first], pair[lead] & 0xFFFFFFFF, most


def _learn(new: State, close: Close) -> None:
    """Where a block has ended what it showed joins the usual, within bounds."""
    at = np.flatnonzero(close.turned)
    careful = np.where(close.alarmed(FAMILY)[at], _RISE_ALARMED, 1.0)
    share, peak, top = new["rep_peak"][at].astype("f8").T
    usual = new["rep_usual"][at].astype("f8")
    new["rep_usual"][at] = np.maximum(usual * _FADE_USUAL, np.minimum(share, usual + _RISE_SHARE * careful))
    new["rep_peak"][at, 2] = np.maximum(top * _FADE_USUAL, np.minimum(peak, top + _RISE * careful))
    new["rep_peak"][at, :2] = 0


def judged(_state: State, close: Close, raw: Array, _shared: Shared, settings: DetectorSettings) -> tuple[Array, Array]:
    """Told where the money is worth it, as for the velocity family."""
    return raw, worth_waking(close, settings)


def explain(state: State, _close: Close, _shared: Shared, _settings: DetectorSettings, *, at: int, raw: float) -> Told:  # noqa: ARG001 - one signature for all
    """How many of the last requests were the same one, and how many usually are."""
    lead, made = (float(value) for value in state["rep_fast"][at])
    usual, length = float(state["rep_usual"][at]), int(state["rep_length"][at])
    same = (lead + made) / 2  # the lead is those for less those against
    before = (1 + usual) / 2 if usual > 0 else 0.0
    evidence: dict[str, float | str] = {
        "observed": same / max(made, 1e-9), "expected": before, "window_s": _FADE_S,
        "ratio": same / max(made * before, 1.0), "equal_requests": same, "input_tokens": float(length),
    }  # fmt: skip
    usually = f"usually at most {percent(before)} are alike" if before else "usually they differ"
    what = (
        f"repeats itself: {round(same):,} of its last {round(made):,} requests have exactly {number(length)} input "
        f"tokens, {usually}"
    )
    return Told("equal_requests", what, evidence)
