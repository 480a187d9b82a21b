"""A second version of the settings judged on the same rows: for backtests, and for a shadow beside the live one.

Where the two differ only in what is judged, one core serves both: learning does not depend on thresholds. Where they
differ in what is learned, the second has a core of its own, which begins with what the first has learned so far.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
import pyarrow as pa

from detectors import budget, limits, snapshots
from detectors.at_once import AtOnce, in_order
from detectors.ensemble import MODULES, detectors_in_force
from detectors.room import units_of
from detectors.state import Array, State
from schemas.config.detectors import DetectorsConfig
from schemas.records import Finding

if TYPE_CHECKING:
    from detectors.core import ScoreCore
    from detectors.wave import Wave

JUDGED: Final = frozenset(
    {
        "alarm_per_key_week", "limits", "environments", "keys", "announced",
        "budget.usd_per_day", "budget.usd_per_month", "velocity.min_usd_per_min", "velocity.warmup_windows",
        "time.refractory_s", "time.max_future_s",
    }
)  # fmt: skip
"""Settings that no state depends on; those of a name alone in every family. What is not here counts as learned."""
_NAMED: Final = frozenset({"environments", "keys"})  # sections by names of one's own: taken whole


class Observer(Protocol):
    """Sees each closed wave after it was judged, and changes nothing."""

    @property
    def at_once(self) -> AtOnce | None:
        """Its own judge of what is certain, if it has one: it is given each row as the core's is."""
        ...

    def saw(self, wave: Wave, told: list[Finding], due: Array) -> None:
        """`told` is what the core's own judge said of it, at once or now; only keys that are `due` may be spoken of."""
        ...


class Beside(Protocol):
    """The second version, fed with the frames that the first has just taken."""

    def process(self, frame: pa.RecordBatch, /) -> list[Finding]: ...

    def advance(self, clock_s: int, /) -> list[Finding]: ...


def beside(core: ScoreCore, settings: DetectorsConfig, *, new_core: Callable[[DetectorsConfig], ScoreCore]) -> Beside:
    """Begin a second version of the settings beside a core. It takes each frame after the core has taken it.

    `new_core` makes a blank core of the same partition under given settings.
    """
    if learns_alike(core.judge.settings, settings):
        return SecondJudge(core, settings)
    return fork(core, new_core(settings))


def learns_alike(one: DetectorsConfig, other: DetectorsConfig) -> bool:
    """Whether a core under `one` learns what a core under `other` needs to judge.

    >>> strict = DetectorsConfig.model_validate({"velocity": {"alarm_per_key_week": 0.01}})
    >>> slow = DetectorsConfig.model_validate({"velocity": {"decay_per_10min": 0.99}})
    >>> learns_alike(DetectorsConfig(), strict), learns_alike(DetectorsConfig(), slow)
    (True, False)
    """
    left, right = _learned(one), _learned(other)
    for name in MODULES:
        if getattr(one, name).enabled and not getattr(other, name).enabled:
            left.pop(name, None), right.pop(name, None)  # learned and not asked
    return left == right


def differences(one: DetectorsConfig, other: DetectorsConfig) -> dict[str, list[Any]]:
    """Settings that differ, by dotted name, each with both values.

    >>> differences(DetectorsConfig(), DetectorsConfig.model_validate({"mix": {"alarm_per_key_week": 3}}))
    {'mix.alarm_per_key_week': [0.02, 3.0]}
    """
    left, right = one.model_dump(mode="json"), other.model_dump(mode="json")
    found: dict[str, list[Any]] = {}
    for name, section in left.items():
        if isinstance(section, dict) and name not in _NAMED:
            found |= {f"{name}.{knob}": [v, right[name][knob]] for knob, v in section.items() if v != right[name][knob]}
        elif section != right[name]:
            found[name] = [section, right[name]]
    return found


def _learned(settings: DetectorsConfig) -> dict[str, Any]:
    data = settings.model_dump()
    for section in [name for name in data if name in JUDGED]:
        del data[section]
    for name, section in data.items():
        for knob in [knob for knob in section if knob in JUDGED or f"{name}.{knob}" in JUDGED]:
            del section[knob]
    return data


class SecondJudge:
    """Judges the waves of another's core by its own settings."""

    def __init__(self, core: ScoreCore, settings: DetectorsConfig) -> None:
        self._core, self._settings = core, settings
        self._judge = core.judge.beside(settings)
        self._families = frozenset(detectors_in_force(settings))
        self._columns: State = {
            "caps": np.zeros((0, 5), "f4"), "units": np.zeros((0, 2), "f4"), "room": np.zeros(0, "i4"),
        }  # fmt: skip
        self._told: list[Finding] = []
        self.at_once = AtOnce(
            core.table, core.folder, core.book, self._judge, columns=self._known, as_judged=self._own
        )  # fmt: skip
        core.observers.append(self)

    def saw(self, wave: Wave, told: list[Finding], due: Array) -> None:
        self._told += self._judge.findings(self._own(wave), self._core.population, due)

    def process(self, _frame: pa.RecordBatch) -> list[Finding]:
        """What is to be said of the waves that the core has closed since it was asked last."""
        return self._take()

    def advance(self, _clock_s: int) -> list[Finding]:
        """The same after the core's clock has moved."""
        return self._take()

    def _take(self) -> list[Finding]:
        told, self._told = self._told, []
        self._judge.said.forget(self._core.clock_s)
        return in_order(self.at_once.told(self._core.clock_s), told)

    def _own(self, wave: Wave) -> Wave:
        """The wave as a core under these settings would show it."""
        states = {family: state for family, state in wave.states.items() if family in self._families}
        raws = {family: raw for family, raw in wave.raws.items() if family in self._families}
        close = replace(wave.close, caps=self._known()["caps"][wave.slots])
        if "policy" in self._families:  # limits have no state: they can be judged also where nobody learned them
            states["policy"] = {}
            raws["policy"] = limits.used(limits.observed(close.sums), close.caps)
        if "budget" in raws:
            raws["budget"] = budget.used(states["budget"]["bud_nano"], close.caps)
        return replace(wave, close=close, states=states, raws=raws)

    def _known(self) -> State:
        """Like the columns of these names in the core's book, under the second's own limits."""
        book, columns = self._core.book, self._columns
        unknown = range(len(columns["room"]), len(book.ids))
        if unknown:
            whose = ((book.ids[slot], book.facts[slot]) for slot in unknown)
            new = [limits.caps_of(self._settings, env=f.env, key_id=key, formerly=f.formerly) for key, f in whose]
            columns["caps"] = np.concatenate((columns["caps"], np.array(new, "f4")))
            units = [units_of(caps, self._settings) for caps in new]
            columns["units"] = np.concatenate((columns["units"], np.array(units, "f4")))
            columns["room"] = np.append(columns["room"], np.zeros(len(new), "i4"))
        return columns


def fork(core: ScoreCore, blank: ScoreCore) -> ScoreCore:
    """`blank` with all that the core knows: from here on both go their own ways."""
    blank.import_cohorts(snapshots.export_cohorts(core))
    for shard in range(core.shards):
        blank.import_shard(shard, snapshots.export_shard(core, shard))
    blank.clock_s = core.clock_s
    known = core.judge.allowances.marked
    blank.allow(known.marks, known.expected)
    return blank
