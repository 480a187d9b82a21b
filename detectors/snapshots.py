"""State of a core as bytes and back: one shard of keys at a time, and what all of them share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from pydantic import TypeAdapter

from detectors import codec, intake, rings
from detectors import rows as r
from detectors.placement import Placement
from detectors.state import Array, State
from schemas.records import KeyFacts

if TYPE_CHECKING:
    from detectors.core import ScoreCore

_MAGIC: Final = dict(zip(Placement, codec.MAGICS, strict=True))
"""Two versions: a build that knows the first placement alone would look for keys in other shards than they are in."""
_SPREAD: Final = 1.1  # by which a shard may be smaller than the mean, and there is still room for all
_KINDS: Final = TypeAdapter(list[KeyFacts])


def export_shard(core: ScoreCore, shard: int) -> bytes:
    """Keys by name, their columns, rows of the open second, recent event hashes, coordinates and clock."""
    slots = np.flatnonzero(core.book.columns["shard"][: core.known_keys] == shard)
    slots = slots[np.argsort(np.array([core.book.ids[slot] for slot in slots.tolist()], object))]
    state = rings.stored(core.table.take(core.table.fields, slots), core.clock_s)
    pending = _pending(core, slots)
    marks, now, before = core.retries[shard].export()
    meta = {
        "shard": shard, "shards": core.shards, "clock_s": max(core.clock_s, int(core.floor[shard])), "retries": marks,
        "keys": [core.book.ids[slot] for slot in slots.tolist()], "facts": _facts(core, slots),
        "models": _texts(core.models.text_of, state["mix_model"], pending[r.MODEL]),
        "places": _texts(core.places.text_of, pending[r.NETWORK], pending[r.COUNTRY], pending[r.AGENT]),
    }  # fmt: skip
    arrays = {"covered": core.covered[shard], "now": now, "before": before, "pending": pending}
    arrays |= {f"key.{name}": values for name, values in state.items()}
    return codec.encode(meta, arrays, magic=_MAGIC[core.book.placement])


def import_shard(core: ScoreCore, shard: int, data: bytes) -> None:
    """Adds the shard's keys to a core that has none of them."""
    meta, arrays = codec.decode(data)
    if (meta["shard"], meta["shards"]) != (shard, core.shards):
        raise ValueError(f"this is shard {meta['shard']} of {meta['shards']}, not {shard} of {core.shards}")
    core.book.place_as(placement_of(data))
    for names, texts in ((core.models, meta["models"]), (core.places, meta["places"])):
        for value, text in texts:
            names.learn(value, text)
    if not core.known_keys:
        expected = int(len(meta["keys"]) * core.shards * _SPREAD)
        core.book.reserve(expected)
        core.table.reserve(expected)
    known = _KINDS.validate_python(meta["facts"]["kinds"])
    at = core.book.add(meta["keys"], [known[kind] for kind in meta["facts"]["of"]])
    core.table.grow_to(core.known_keys)
    state = rings.restored({name[4:]: values for name, values in arrays.items() if name.startswith("key.")})
    core.table.put(at, {name: values for name, values in state.items() if name in core.table.fields})
    _restore_rows(core, shard, at, arrays)
    core.retries[shard].restore(meta["retries"], arrays["now"], arrays["before"])
    first = not core.floor.any()
    core.floor[shard] = meta["clock_s"]
    core.clock_s = meta["clock_s"] if first else min(core.clock_s, meta["clock_s"])


def _restore_rows(core: ScoreCore, shard: int, slots: Array, arrays: State) -> None:
    covered = arrays["covered"]
    core.covered = intake.widened(core.covered, len(covered))
    core.covered[shard, : len(covered)] = covered
    pending = arrays["pending"]
    if pending.shape[1]:
        pending[r.SLOT] = slots[pending[r.SLOT]]
        core.pending.append(pending)


def export_cohorts(core: ScoreCore) -> bytes:
    """The population, who was spoken of lately, the clock and the highest coordinates folded."""
    meta, arrays = core.population.export()
    meta |= {"clock_s": max(core.clock_s, core.delivered_s), "said": core.judge.said.export(core.clock_s)}
    arrays |= {"delivered": core.covered.max(axis=0)}
    return codec.encode(meta, arrays, magic=_MAGIC[core.book.placement])


def import_cohorts(core: ScoreCore, data: bytes) -> None:
    meta, arrays = codec.decode(data)
    core.book.place_as(placement_of(data))
    core.population.restore(meta, arrays)
    core.judge.said.restore(
        [(str(key), str(what), int(at), float(score), float(usd)) for key, what, at, score, usd in meta["said"]]
    )
    core.delivered_s = int(meta["clock_s"])
    core.delivered = arrays["delivered"]
    core.book.reassign()


def placement_of(data: bytes) -> Placement:
    """In which shards its keys are, told by a shard or by the cohorts, which are written before any shard.

    Raises:
        ValueError: neither of any version.
    """
    for placement, magic in _MAGIC.items():
        if data.startswith(magic):
            return placement
    raise ValueError("not a state of this version")


def _pending(core: ScoreCore, slots: Array) -> Array:
    """Waiting rows of these slots, slots replaced by places in the list of keys."""
    waiting = np.concatenate((r.empty(), *core.pending), axis=1)
    place = np.full(core.known_keys + 1, -1, np.int64)
    place[slots] = np.arange(len(slots))
    mine = waiting[:, place[waiting[r.SLOT]] >= 0]
    mine[r.SLOT] = place[mine[r.SLOT]]
    return r.compact(mine)


def _facts(core: ScoreCore, slots: Array) -> dict[str, Any]:
    """What the keys' first rows said: few distinct kinds, and each key's."""
    kinds: dict[KeyFacts, int] = {}
    of = [kinds.setdefault(core.book.row_facts[slot], len(kinds)) for slot in slots.tolist()]
    return {"kinds": [facts.model_dump() for facts in kinds], "of": of}


def _texts(text_of: Callable[[int], str], *hashes: Array) -> list[tuple[int, str]]:
    values = np.unique(np.concatenate([part.reshape(-1).astype(np.int64) for part in hashes]))
    return [(value, text) for value in values.tolist() if (text := text_of(value))]
