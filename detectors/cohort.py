"""Several features at once against the key's cohort: a second opinion by Half-Space Trees, never an alarm alone.

A cohort is an environment with a provider: keys that do the same kind of work under the same prices. The forest says
that a key is unlike the others, not in what, so its findings are of severity info: with another family beside them,
believe that one more; alone there is no hurry.

Healthy and looks the same: a key with work of its own, such as a nightly report among chats. A cohort of few keys has
little to compare with.

To turn: `alarm_per_key_week` first; `window_samples` for how soon it has an opinion and how long it remembers; more
`n_trees` for a steadier one.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from detectors.close import Close, Shared, Told
from detectors.explain import number
from detectors.river_models import Forest
from detectors.state import Array, Fields, State
from detectors.velocity import worth_waking
from schemas.config.detectors import DetectorSettings

FAMILY: Final = "cohort"
FEATURES: Final = ("requests_10m", "tokens_10m", "usd_10m", "tokens_per_request", "usd_per_request", "burst")
_LOW: Final = np.log([1.0, 10.0, 1e-4, 1.0, 1e-6, 0.1])
_HIGH: Final = np.log([1e6, 1e9, 1e4, 1e6, 1e2, 1.0])
_UNITS: Final = ("requests in 10 min", "tokens in 10 min", "USD in 10 min", "tokens per request", "USD per request",
                 "of 10 minutes' requests in the last one")  # fmt: skip
_PERIOD_S: Final = 60
FIELDS: Final[Fields] = {
    "coh_x": ("f4", (len(FEATURES),)),  # features of the last evaluation, 0 to 1
    "coh_minute": ("i4", ()),  # when that was, in the key's own minutes
}


def step(state: State, close: Close, _settings: DetectorSettings) -> tuple[State, Array]:
    """Raw score: 1 where the key is due for an evaluation, which is once a minute; `opinion` gives the score.

    >>> from detectors.examples import blank, closing
    >>> state = blank(FIELDS)
    >>> much = closing(requests_10m=2400, tokens_10m=9.6e6, usd_10m=31.0)
    >>> state, due = step(state, much, DetectorSettings())
    >>> _, again = step(state, much, DetectorSettings())
    >>> due.tolist(), again.tolist()
    ([1.0], [0.0])
    """
    minute = (close.second + (close.salt % np.uint64(_PERIOD_S)).astype("i8")) // _PERIOD_S
    due = minute != state["coh_minute"]
    if not due.any():
        return state, np.zeros(len(due))
    new = {name: values.copy() for name, values in state.items()}
    new["coh_minute"] = minute.astype("i4")
    new["coh_x"][due] = features(close.sums[due])
    return new, due.astype("f8")


def features(sums: Array) -> Array:
    """Logarithms scaled to 0..1 by fixed ranges, so that one attack cannot squash all later values."""
    per_request = 1 / np.maximum(sums[:, 2], 1.0)
    raw = np.stack(
        (sums[:, 2], sums[:, 6], sums[:, 10], sums[:, 6] * per_request, sums[:, 10] * per_request,
         sums[:, 1] * per_request), axis=1,
    )  # fmt: skip
    scaled = (np.log(np.maximum(raw, 1e-12)) - _LOW) / (_HIGH - _LOW)
    clipped: Array = np.clip(scaled, 0.0, 1.0).astype("f4")
    return clipped


def opinion(forest: Forest, cohort: Array, samples: Array) -> Array:
    """-ln of the density the forest sees around each sample, 0 to 9.2; 0 while the forest is not grown."""
    score = forest.score(cohort, samples)
    raw: Array = np.where(forest.ready(cohort), -np.log(np.maximum(1 - score, 0.0) + 1e-4), 0.0)
    return raw


def judged(state: State, close: Close, raw: Array, shared: Shared, settings: DetectorSettings) -> tuple[Array, Array]:
    """The forest's opinion where it is due and money is spent: to be used less than others harms nobody."""
    due = np.flatnonzero((raw > 0) & worth_waking(close, settings))
    density = np.zeros(len(raw))
    if len(due):
        density[due] = opinion(shared.forest, shared.cohorts[due], state["coh_x"][due].astype("f8"))
    return density, density > 0


def explain(state: State, _close: Close, _shared: Shared, _settings: DetectorSettings, *, at: int, raw: float) -> Told:
    """Features in plain units; a forest cannot say which of them is odd."""
    values = np.exp(state["coh_x"][at] * (_HIGH - _LOW) + _LOW)
    evidence: dict[str, float | str] = {"observed": raw, "window_s": 600.0}
    evidence |= {name: float(value) for name, value in zip(FEATURES, values, strict=True)}
    shown = ", ".join(f"{number(float(values[i]))} {_UNITS[i]}" for i in (0, 2, 3))
    return Told("half_space_trees", f"is used unlike other keys of its environment and provider: {shown}", evidence)
