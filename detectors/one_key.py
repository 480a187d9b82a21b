"""What was learned of one key, by itself: packed for the evidence of an incident, and read again by people. Pure.

Rows of the second under way are not in it: nothing was learned of them yet.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from detectors import codec, rings, sketch
from detectors.close import KEY_FIELDS
from detectors.ensemble import MODULES
from detectors.state import Array, State
from schemas.records import KeyFacts

if TYPE_CHECKING:
    from detectors.core import ScoreCore

_GROUPS: Final[Mapping[str, Iterable[str]]] = {
    "key": KEY_FIELDS, "windows": rings.STORED, "sketch": sketch.FIELDS,
    **{name: module.FIELDS for name, module in MODULES.items()},
}  # fmt: skip
_COHORT: Final = ("counts", "typical", "typical_keys", "tables", "prior_log")
"""Of what a cohort has learned; its forest is not told apart from the others' and stays out."""
_DIGITS: Final = 7  # as many as a 32-bit number has


def evidence(core: ScoreCore, keys: Sequence[str]) -> list[tuple[bytes, bytes]]:
    """Of each key the core knows, its state and what its cohort shares. KeyError for another."""
    exported, cohorts = core.population.export(), dict[tuple[str, str], bytes]()
    found = []
    for key_id in keys:
        facts = core.book.facts[core.book.slot_of[key_id]]
        name = (facts.env, facts.provider)
        if name not in cohorts:
            cohorts[name] = pack_cohort(*exported, facts)
        found.append((pack_key(core, key_id), cohorts[name]))
    return found


def pack_key(core: ScoreCore, key_id: str) -> bytes:
    """The state of a key that the core knows, as of its clock. KeyError for another."""
    slot = core.book.slot_of[key_id]
    rows = rings.stored(core.table.take(core.table.fields, np.array([slot])), core.clock_s)
    state = {name: values[0] for name, values in rows.items()}
    models = {value: core.models.text_of(value) for value in np.unique(state["mix_model"]).tolist()}
    covered = core.covered[int(core.book.columns["shard"][slot])]
    return _pack(key_id, core.book.facts[slot], core.clock_s, models, state, covered)


def of_shard(data: bytes, key_id: str) -> bytes | None:
    """The same from a checkpoint's shard; None when the key is not in it. ValueError for bytes of another version."""
    meta, arrays = codec.decode(data)
    if key_id not in meta["keys"]:
        return None
    at = meta["keys"].index(key_id)
    state = {name[4:]: values[at] for name, values in arrays.items() if name.startswith("key.")}
    facts = KeyFacts.model_validate(meta["facts"]["kinds"][meta["facts"]["of"][at]])
    return _pack(key_id, facts, int(meta["clock_s"]), dict(meta["models"]), state, arrays["covered"])


def pack_cohort(meta: Mapping[str, Any], arrays: State, facts: KeyFacts) -> bytes:
    """What keys of this environment and provider share, from `Population.export`."""
    names = [tuple(name) for name in meta["names"]]
    name = (facts.env, facts.provider)
    number = names.index(name) if name in names else 0  # the first is for all that came too late for one of their own
    about = {"env": facts.env, "provider": facts.provider, "block": meta["block"], "own": number > 0}
    return codec.encode(about, {each: np.asarray(arrays[each][number]) for each in _COHORT})


def cohort_of(data: bytes, facts: KeyFacts) -> bytes:
    """The same from a checkpoint. ValueError for bytes of another version."""
    return pack_cohort(*codec.decode(data), facts)


def readable(data: bytes) -> dict[str, Any]:
    """As JSON: the fields of each detector under its name. ValueError for bytes of another version."""
    meta, arrays = codec.decode(data)
    told = dict(meta)
    for group, fields in _GROUPS.items():
        mine = {name: _plain(arrays.pop(name)) for name in fields if name in arrays}
        if mine:
            told[group] = mine
    return told | {name: _plain(values) for name, values in arrays.items()}


def facts_in(data: bytes) -> KeyFacts:
    """Whose key a packed state is of."""
    return KeyFacts.model_validate(codec.decode(data)[0]["facts"])


def _pack(key_id: str, facts: KeyFacts, clock_s: int, models: Mapping[int, str], state: State, covered: Array) -> bytes:
    used = set(np.unique(state["mix_model"]).tolist())
    meta = {
        "key_id": key_id, "facts": facts.model_dump(), "clock_s": clock_s,
        "models": {str(value): text for value, text in sorted(models.items()) if text and value in used},
    }  # fmt: skip
    return codec.encode(meta, {name: np.asarray(values) for name, values in state.items()} | {"covered": covered})


def _plain(values: Array) -> Any:  # noqa: ANN401 - numbers in lists
    return _rounded(values.tolist()) if values.dtype.kind == "f" else values.tolist()


def _rounded(value: Any) -> Any:  # noqa: ANN401 - as above
    """JSON has no infinity: None stands for it."""
    if isinstance(value, list):
        return [_rounded(each) for each in value]
    return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
