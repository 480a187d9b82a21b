"""Who the key slots are: names, facts, shards, cohorts, limits, and the answers of the policy plane."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Final

import numpy as np

from detectors.breaches import WATCHED, Watch
from detectors.limits import caps_of, named_for
from detectors.placement import NEW, Placement, shard_of
from detectors.population import Population
from detectors.room import units_of
from detectors.state import Array, Fields, KeyTable
from schemas.config.detectors import DetectorsConfig
from schemas.event import app_of
from schemas.records import KeyFacts

FactsOf = Callable[[str], KeyFacts | None]
Forbidden = Callable[[str, KeyFacts, str], str | None]
WatchOf = Callable[[str, KeyFacts], Watch | None]

_MODELS: Final = 51  # models whose verdict is remembered per key; further ones are asked about each time
_FIELDS: Final[Fields] = {
    "shard": ("i2", ()),
    "cohort": ("i4", ()),
    "salt": ("u8", ()),
    "registered": ("?", ()),
    "caps": ("f4", (5,)),
    "score": ("f4", ()),  # of the last close, for screens
    "verdict": ("i1", (_MODELS,)),  # by model: 0 not asked, 1 allowed, 2 forbidden
    "units": ("f4", (2,)),  # what a nano-dollar and a request take from the room
    "room": ("i4", ()),  # at most what is left of the nearest limit or budget; 0: to be looked at. See `room.py`
    "watch": ("i4", ()),  # place in `watches`; 0: no rule but of models holds for the key
}


class Names:
    """Short hashes of texts, and the texts behind them while there are not too many."""

    _LIMIT = 200_000

    def __init__(self) -> None:
        self._hash: dict[str, int] = {}
        self._text: dict[int, str] = {}

    def hash_of(self, text: str) -> int:
        """32 bits, never 0, the same everywhere."""
        known = self._hash.get(text)
        if known is None:
            if len(self._hash) >= self._LIMIT:
                self._hash.clear()
                self._text.clear()
            known = int.from_bytes(blake2b(text.encode(), digest_size=4).digest(), "little") or 1
            self.learn(known, text)
        return known

    def hashes_of(self, texts: list[str]) -> list[int]:
        """Of each text, without a call for each that is known: there are thousands in a frame."""
        known = list(map(self._hash.get, texts))
        return [self.hash_of(text) if value is None else value for text, value in zip(texts, known, strict=True)]

    def text_of(self, value: int) -> str:
        """The text, empty when it is not at hand."""
        return self._text.get(value, "")

    def learn(self, value: int, text: str) -> None:
        self._hash[text], self._text[value] = value, text


def _salt_of(key_id: str) -> int:
    return int.from_bytes(blake2b(key_id.encode(), digest_size=8).digest(), "little")


class KeyBook:
    """One slot per key seen. Slots are private to this process; what leaves it goes by key_id."""

    def __init__(
        self, settings: DetectorsConfig, population: Population, *, shards: int, facts_of: FactsOf,
        forbidden: Forbidden, watch_of: WatchOf,
    ) -> None:  # fmt: skip
        self._settings, self._population = settings, population
        self.shards, self.placement = shards, NEW
        self._facts_of, self._forbidden, self._watch_of = facts_of, forbidden, watch_of
        self.watches: list[Watch | None] = [None]
        """The rules of keys that have others than of models, each once."""
        self._watch_places: dict[Watch, int] = {}
        self._limits: dict[tuple[str, str | None], tuple[Array, Array]] = {}
        self.slot_of: dict[str, int] = {}
        self.ids: list[str] = []
        self.row_facts: list[KeyFacts] = []
        self.facts: list[KeyFacts] = []
        self._shared: dict[tuple[str, ...], KeyFacts] = {}
        self._models: dict[str, int] = {}
        self._table = KeyTable(_FIELDS)

    @property
    def columns(self) -> dict[str, Array]:
        return self._table.columns

    @property
    def row_bytes(self) -> int:
        """Bytes per key besides its state."""
        return self._table.row_bytes

    def reserve(self, keys: int) -> None:
        """So many are about to be added."""
        self._table.reserve(keys)

    def shard_of(self, key_id: str) -> int:
        """The shard of a key, known or not."""
        return shard_of(key_id, self.shards, self.placement)

    def place_as(self, placement: Placement) -> None:
        """As in the state that is restored. ValueError when keys are placed otherwise already."""
        if self.ids and placement is not self.placement:
            raise ValueError("a state whose keys are placed in two ways: parts of it are of another version")
        self.placement = placement

    def add(self, key_ids: Sequence[str], row_facts: Sequence[KeyFacts]) -> Array:
        """Slots for new keys; `row_facts` is what the first row of each says, used where the registry is silent."""
        first, added = len(self.ids), len(key_ids)
        self._table.grow_to(first + added)
        slots = range(first, first + added)
        self.slot_of.update(zip(key_ids, slots, strict=True))
        self.ids += key_ids
        self.row_facts += row_facts
        self.facts += row_facts
        self.columns["shard"][first : first + added] = [self.shard_of(key_id) for key_id in key_ids]
        self.columns["salt"][first : first + added] = np.array([_salt_of(key_id) for key_id in key_ids], "u8")
        self._settle(slots)
        return np.arange(first, first + added)

    def facts_from_row(self, provider: str, team: str | None, app: str | None, env: str | None) -> KeyFacts:
        """Facts as an event states them; equal ones are one object, for there may be a million keys."""
        named = (provider, team or "unknown", app_of(app or "unknown"), env or "unknown")
        known = self._shared.get(named)
        if known is None:
            known = self._shared[named] = KeyFacts(provider=named[0], team=named[1], app=named[2], env=named[3])
        return known

    def reconfigure(self, settings: DetectorsConfig) -> None:
        """New limits, and every answer of registry and policies asked afresh."""
        self._settings = settings
        self._limits.clear()
        self.columns["verdict"][:] = 0
        self.watches[1:], self._watch_places = [], {}
        self._settle(range(len(self.ids)))

    def settle(self, key_id: str) -> None:
        """The registry says something else of one key from now on."""
        slot = self.slot_of.get(key_id)
        if slot is not None:
            self.columns["verdict"][slot] = 0
            self._settle([slot])

    def settle_where(self, concerns: Callable[[str, KeyFacts], bool]) -> None:
        """Policies say something else of these keys from now on."""
        self._settle([slot for slot, key_id in enumerate(self.ids) if concerns(key_id, self.facts[slot])])

    def reassign(self) -> None:
        """Look every key's cohort up again, after the cohorts were replaced."""
        for slot, facts in enumerate(self.facts):
            self.columns["cohort"][slot] = self._population.cohort_of(facts.env, facts.provider)

    def _settle(self, slots: Sequence[int]) -> None:
        """Ask registry, settings and policies about these keys."""
        if not len(slots):
            return
        columns, at = self.columns, np.asarray(slots)
        registered, cohorts, limits, watches = list[bool](), list[int](), list[tuple[Array, Array]](), list[int]()
        for slot in slots:
            key_id = self.ids[slot]
            known = self._facts_of(key_id)
            facts = self.facts[slot] = known or self.row_facts[slot]
            registered.append(known is not None)
            cohorts.append(self._population.cohort_of(facts.env, facts.provider))
            limits.append(self._limits_of(key_id, facts))
            watches.append(self._watch_place(key_id, facts))
        columns["registered"][at], columns["cohort"][at], columns["watch"][at] = registered, cohorts, watches
        columns["caps"][at] = np.array([caps for caps, _ in limits])
        columns["units"][at] = np.array([units for _, units in limits])
        columns["room"][at] = 0

    def _limits_of(self, key_id: str, facts: KeyFacts) -> tuple[Array, Array]:
        """Its `caps` and `units`: worked out once for all keys of an environment that no setting names."""
        kind = (facts.env, named_for(self._settings, key_id, facts.formerly))
        known = self._limits.get(kind)
        if known is None:
            caps = caps_of(self._settings, env=facts.env, key_id=key_id, formerly=facts.formerly)
            known = self._limits[kind] = (np.array(caps, "f4"), np.array(units_of(caps, self._settings), "f4"))
        return known

    def _watch_place(self, key_id: str, facts: KeyFacts) -> int:
        watch = self._watch_of(key_id, facts)
        if watch is None or (watch.steady and watch.kinds.isdisjoint(WATCHED)):
            return 0
        place = self._watch_places.setdefault(watch, len(self.watches))
        if place == len(self.watches):
            self.watches.append(watch)
        return place

    def watch(self, slot: int) -> Watch | None:
        """The rules of the key, if it has others than of models."""
        return self.watches[int(self.columns["watch"][slot])]

    def policy_against(self, slot: int, model: str) -> str | None:
        """Name of the policy that forbids the model to the key."""
        return self._forbidden(self.ids[slot], self.facts[slot], model)

    def forbidden(self, slots: Array, codes: Array, models: list[str]) -> Array:
        """For each row 1 where its key may not use its model; `codes` index `models`."""
        places = np.array([self._models.setdefault(model, len(self._models)) for model in models] or [0])[codes]
        remembered = places < _MODELS
        if remembered.all():
            verdict = self.columns["verdict"][slots, places]
        else:
            verdict = np.where(remembered, self.columns["verdict"][slots, np.minimum(places, _MODELS - 1)], 0)
        unknown = np.flatnonzero(verdict == 0)
        if len(unknown):
            verdict[unknown] = self._ask(slots[unknown], codes[unknown], places[unknown], models)
        banned: Array = (verdict == 2).astype(np.int64)
        return banned

    def _ask(self, slots: Array, codes: Array, places: Array, models: list[str]) -> Array:
        pairs, first, member = np.unique((slots << 32) | codes, return_index=True, return_inverse=True)
        answers = np.empty(len(pairs), np.int8)
        for at, row in enumerate(first.tolist()):
            slot, place = int(slots[row]), int(places[row])
            answers[at] = 2 if self.policy_against(slot, models[int(codes[row])]) else 1
            if place < _MODELS:
                self.columns["verdict"][slot, place] = answers[at]
        told: Array = answers[member]
        return told
