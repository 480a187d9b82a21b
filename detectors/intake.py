"""A frame's columns as integers: which key, which second, which hashed texts; and which rows were folded before."""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import repeat
from typing import Final

import numpy as np
import pyarrow as pa

from detectors import breaches
from detectors import rows as r
from detectors.addresses import numbers_of
from detectors.keys import KeyBook, Names
from detectors.room import UNUSED
from detectors.state import Array
from schemas.frame import FRAME_SCHEMA, INDEX_BITS

_AT: Final = {name: FRAME_SCHEMA.get_field_index(name) for name in FRAME_SCHEMA.names}
_TOKENS: Final = ("input_tokens", "output_tokens")  # cached and reasoning tokens are part of these
_FACTS: Final = ("provider", "team", "app", "env")
_VERSION: Final = re.compile(r"[ /]?\d[\d.]*")
_TEXTS: Final = (
    ("endpoint", r.ENDPOINT), ("network", r.NETWORK), ("country", r.COUNTRY), ("user_agent", r.AGENT),
)  # fmt: skip


def column(frame: pa.RecordBatch, name: str) -> Array:
    """A column without nulls as numpy, without a copy."""
    values: Array = frame.column(_AT[name]).to_numpy(zero_copy_only=False)
    return values


def codes(frame: pa.RecordBatch, name: str) -> tuple[Array, list[str]]:
    """A text column as places in its list of distinct values; null is one past its end."""
    array = frame.column(_AT[name])
    return _places(array), array.dictionary.to_pylist()


def addresses(frame: pa.RecordBatch) -> tuple[Array, Array]:
    """The column of addresses in the same way, its list as numbers."""
    array = frame.column(_AT["ip"])
    return _places(array), numbers_of(array.dictionary)


def _places(array: pa.DictionaryArray) -> Array:
    indices = array.indices
    if indices.null_count:
        indices = indices.fill_null(len(array.dictionary))
    places: Array = indices.to_numpy(zero_copy_only=False)
    return places


def coordinates(frame: pa.RecordBatch) -> tuple[Array, Array]:
    """Each row's raw partition, and its place there as one growing number."""
    offsets = column(frame, "raw_offset") << INDEX_BITS
    return column(frame, "raw_partition").astype(np.int64), offsets | column(frame, "raw_index")


def beyond(covered: Array, shards: Array, partitions: Array, coords: Array) -> Array:
    """True where a row is past everything its shard has folded; raises `covered` to the newest.

    >>> covered = np.array([[5, -1]])
    >>> beyond(covered, np.zeros(3, int), np.array([0, 1, 1]), np.array([5, 7, 7])).tolist(), covered.tolist()
    ([False, True, False], [[5, 7]])
    """
    fresh: Array = coords > covered[shards, partitions]
    if _rises(partitions, coords):
        np.maximum.at(covered, (shards, partitions), coords)
        return fresh
    for at, (shard, partition, coord) in enumerate(
        zip(shards.tolist(), partitions.tolist(), coords.tolist(), strict=True)
    ):
        fresh[at] = coord > covered[shard, partition]
        covered[shard, partition] = max(covered[shard, partition], coord)
    return fresh


def widened(covered: Array, partitions: int) -> Array:
    """With a column for each of so many raw partitions; of new ones nothing is covered."""
    missing = partitions - covered.shape[1]
    return np.concatenate((covered, np.full((len(covered), missing), -1)), axis=1) if missing > 0 else covered


def _rises(partitions: Array, coords: Array) -> bool:
    """Whether coordinates grow within each raw partition: a frame without replays inside."""
    if (partitions != partitions[0]).any():
        order = np.argsort(partitions, kind="stable")
        partitions, coords = partitions[order], coords[order]
        return bool(((np.diff(coords) > 0) | (np.diff(partitions) != 0)).all())
    return bool((np.diff(coords) > 0).all())


class Intake:
    """Reads frames for one partition, giving slots to new keys and hashes to texts."""

    def __init__(self, book: KeyBook, models: Names, places: Names) -> None:
        self._book, self._models, self._places = book, models, places

    def keys(self, frame: pa.RecordBatch) -> tuple[Array, list[str], Array, Array]:
        """Each row's key as a place in the list of distinct keys, that list, and slot (or -1) and shard of each."""
        at, ids = codes(frame, "key_id")
        known = self._book.slot_of
        slots = np.fromiter(map(known.get, ids, repeat(-1)), np.int64, len(ids))
        shards = (
            self._book.columns["shard"][slots].astype(np.int64) if len(self._book.ids) else np.zeros(len(ids), "i8")
        )
        for place in np.flatnonzero(slots < 0).tolist():
            shards[place] = self._book.shard_of(ids[place])
        return at, ids, slots, shards

    def admit(self, frame: pa.RecordBatch, at: Array, ids: list[str], slots: Array) -> None:
        """Give slots to keys seen for the first time, in the order of their rows; `frame` holds kept rows only."""
        strange = slots[at] < 0
        if not strange.any():
            return
        places, first = np.unique(at[strange], return_index=True)
        rows = np.flatnonzero(strange)[first]
        order = np.argsort(rows)
        rows, places = rows[order], places[order]
        said = zip(*(frame.column(_AT[name]).take(pa.array(rows)).to_pylist() for name in _FACTS), strict=True)
        facts = [self._book.facts_from_row(*row) for row in said]
        slots[places] = self._book.add([ids[place] for place in places.tolist()], facts)
        self._book.columns["room"][slots[places]] = UNUSED

    def rows(self, frame: pa.RecordBatch, slots: Array, seconds: Array) -> Array:
        """The integer matrix of `detectors.rows`."""
        matrix = np.empty((r.WIDTH, frame.num_rows), np.int64)
        matrix[r.SLOT], matrix[r.SECOND] = slots, seconds
        matrix[r.TS] = column(frame, "ts_ms") // 1000
        matrix[r.REQUESTS] = column(frame, "requests")
        matrix[r.TOKENS] = sum(column(frame, name) for name in _TOKENS)
        matrix[r.COST] = column(frame, "cost_nano_usd")
        matrix[r.INPUT], matrix[r.CACHED] = column(frame, "input_tokens"), column(frame, "cached_input_tokens")
        status = column(frame, "status")
        matrix[r.REFUSED] = np.where((status >= 400) & (status < 500), matrix[r.REQUESTS], 0)
        matrix[r.FAILED] = np.where(status >= 500, matrix[r.REQUESTS], 0)
        at, texts = codes(frame, "model")
        matrix[r.MODEL] = _hashes(self._models, texts)[at]
        matrix[r.FORBIDDEN] = self._book.forbidden(slots, at.astype(np.int64), texts)
        if len(self._book.watches) > 1:
            ts_ms, numbers = column(frame, "ts_ms"), self._book.columns["watch"][slots]
            seen = breaches.Seen(numbers, ts_ms, matrix, lambda name: codes(frame, name), lambda: addresses(frame))
            breaches.mark(seen, self._book.watches)
        breaches.served(matrix)
        for name, place in _TEXTS:
            at, texts = codes(frame, name)
            if place == r.AGENT:
                texts = [program(text) for text in texts]
            matrix[place] = _hashes(self._places, texts)[at]
        return matrix


@lru_cache(maxsize=10_000)
def program(user_agent: str) -> str:
    """A user agent without its versions: an upgrade is not a stranger.

    >>> program("OpenAI/Python 1.52.0"), program("curl/8.5.0"), program("Mozilla/5.0 (X11; Linux x86_64; rv:130.0)")
    ('OpenAI/Python', 'curl', 'Mozilla (X; Linux x_; rv:)')
    """
    return _VERSION.sub("", user_agent)


def _hashes(names: Names, texts: list[str]) -> Array:
    """Hash of each text, and 0 for null at the end."""
    return np.array([*names.hashes_of(texts), 0], np.int64)
