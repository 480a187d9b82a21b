"""Frames of one partition → sums of spend. Pure; what it says depends on the rows and their order alone.

Each row is counted once: rows that its shard of keys has had are known by their raw coordinates, a producer's own retry
by its event_id. Sums are kept by the part of time that the partition's clock was in (see `SpendSum`), so that none is
remembered for longer than five minutes of it, however late an event may come.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import numpy as np
import orjson
import pyarrow as pa

from detectors import intake
from detectors.placement import NEW, Placement, shard_of
from detectors.retries import RetryFilter, drop_repeated
from detectors.state import Array
from schemas.event import app_of
from schemas.spend import SLOT_S, SpendSum

_LABELS: Final = ("team", "app", "env")

Name = tuple[int, int, str, str, str, str]
"""part, slot, key_id, team, app, env."""


class Grown(NamedTuple):
    """Sums to tell. The final ones must be out before the first of the others is."""

    final: list[SpendSum]
    open: list[SpendSum]


class SpendCore:
    """Of one partition. `clock_s` is to be set after imports to the clock at the place the replay starts from."""

    def __init__(self, *, shards: int, dedup_s: int) -> None:
        self.shards, self._placement = shards, NEW
        self.clock_s = 0
        self._covered = np.full((shards, 1), -1, np.int64)
        self._retries = [RetryFilter(dedup_s) for _ in range(shards)]
        self._sums: dict[Name, list[int]] = {}  # requests, tokens, nano-USD, newest event time
        self._grown: set[Name] = set()
        self._dirty: dict[int, None] = {}
        self._swept = 0  # parts before it are told and forgotten
        self._shard_of: dict[str, int] = {}

    @property
    def remembered(self) -> int:
        """Sums in memory."""
        return len(self._sums)

    def count(self, frame: pa.RecordBatch) -> Array:
        """Add a frame's rows to their sums. True for each row that was counted: neither a replay nor a retry."""
        if frame.num_rows == 0:
            return np.zeros(0, bool)
        partitions, coords = intake.coordinates(frame)
        self._covered = intake.widened(self._covered, int(partitions.max()) + 1)
        clock = self._clock(frame)
        at, ids = intake.codes(frame, "key_id")
        shard = np.array([self._shard(key_id) for key_id in ids], np.int64)[at]
        kept = intake.beyond(self._covered, shard, partitions, coords)
        for touched in np.flatnonzero(np.bincount(shard[kept], minlength=self.shards)).tolist():
            self._dirty.setdefault(touched)
        drop_repeated(self._retries, intake.column(frame, "event_hash"), kept, shard, clock)
        if kept.any():
            for name, more in _grouped(frame, kept, clock // SLOT_S):
                self._add(name, more)
        self.clock_s = int(clock[-1])
        return kept

    def grown(self) -> Grown:
        """What has grown since it was last told. Parts that a shard is ahead with wait for the partition's clock."""
        now = self.clock_s // SLOT_S
        names = sorted(self._grown)
        return Grown(
            [SpendSum(*name, *self._sums[name]) for name in names if name[0] < now],
            [SpendSum(*name, *self._sums[name]) for name in names if name[0] == now],
        )

    def told(self, grown: Grown) -> None:
        """They are out: of the final ones nothing need be remembered."""
        self._grown.difference_update(one[:6] for one in (*grown.final, *grown.open))
        now = self.clock_s // SLOT_S
        if now == self._swept and not grown.final:
            return
        self._swept = now
        for name in [name for name in self._sums if name[0] < now and name not in self._grown]:
            del self._sums[name]
            self._dirty.setdefault(self._shard(name[2]))

    def dirty_shards(self) -> list[int]:
        """Shards changed since their last export, the longest dirty first."""
        return list(self._dirty)

    def export_shard(self, shard: int) -> bytes:
        """All that the shard's future depends on; marks it clean."""
        self._dirty.pop(shard, None)
        marks, now, before = self._retries[shard].export()
        state = {
            "version": int(self._placement), "shard": shard, "shards": self.shards,
            "covered": self._covered[shard].tolist(),
            "retries": [marks, now.tolist(), before.tolist()],
            "sums": [[*name, *one] for name, one in self._sums.items() if self._shard(name[2]) == shard],
        }  # fmt: skip
        return zlib.compress(orjson.dumps(state), 1)

    def import_shard(self, shard: int, data: bytes) -> None:
        """On a fresh core only; what it holds is told again, which counts nothing twice.

        Raises:
            ValueError: the bytes are not of this version or of another shard.
        """
        state = _read(data)
        if state["version"] not in set(Placement) or (state["shard"], state["shards"]) != (shard, self.shards):
            raise ValueError(f"this is no state of shard {shard} of {self.shards} in version {NEW} or before")
        if (self._covered >= 0).any() and state["version"] != self._placement:
            raise ValueError("a state whose keys are placed in two ways: parts of it are of another version")
        self._placement = Placement(state["version"])
        self._covered = intake.widened(self._covered, len(state["covered"]))
        self._covered[shard, : len(state["covered"])] = state["covered"]
        marks, now, before = state["retries"]
        self._retries[shard].restore(marks, np.array(now, np.int64), np.array(before, np.int64))
        for values in state["sums"]:
            one = SpendSum(*values)
            self._sums[one[:6]] = list(one[6:])
            self._grown.add(one[:6])

    def _clock(self, frame: pa.RecordBatch) -> Array:
        seconds = intake.column(frame, "ts_ms") // 1000
        seconds[0] = max(int(seconds[0]), self.clock_s)
        clock: Array = np.maximum.accumulate(seconds)
        return clock

    def _add(self, name: Name, more: list[int]) -> None:
        had = self._sums.get(name)
        if had is None:
            self._sums[name] = more
        else:
            had[0] += more[0]
            had[1] += more[1]
            had[2] += more[2]
            had[3] = max(had[3], more[3])
        self._grown.add(name)

    def _shard(self, key_id: str) -> int:
        known = self._shard_of.get(key_id)
        if known is None:
            if len(self._shard_of) >= 200_000:
                self._shard_of.clear()
            known = self._shard_of[key_id] = shard_of(key_id, self.shards, self._placement)
        return known


def _read(data: bytes) -> dict[str, Any]:
    try:
        state: dict[str, Any] = orjson.loads(zlib.decompress(data))
    except (zlib.error, orjson.JSONDecodeError) as error:
        raise ValueError(f"damaged state of spend: {error}") from error
    return state


def _grouped(frame: pa.RecordBatch, kept: Array, parts: Array) -> Iterator[tuple[Name, list[int]]]:
    """The kept rows by name; integers only, so that the sums are the same in whatever order."""
    rows = np.flatnonzero(kept)
    at, ids = intake.codes(frame, "key_id")
    packed = at[rows].astype(np.int64)
    texts: list[list[str]] = []
    for label in _LABELS:
        codes, values = intake.codes(frame, label)
        named = [app_of(value) for value in values] if label == "app" else values
        texts.append([*named, "unknown"])  # null is one past the end
        packed = packed * (len(values) + 1) + codes[rows]
    slots = intake.column(frame, "ts_ms")[rows] // (SLOT_S * 1000)
    order = np.lexsort((packed, slots, parts[rows]))
    rows, packed, slots, parts = rows[order], packed[order], slots[order], parts[rows][order]
    start = np.flatnonzero(
        np.concatenate(([True], (np.diff(packed) != 0) | (np.diff(slots) != 0) | (np.diff(parts) != 0)))
    )
    tokens = intake.column(frame, "input_tokens") + intake.column(frame, "output_tokens")
    sums = [
        np.add.reduceat(values[rows], start).tolist()
        for values in (intake.column(frame, "requests"), tokens, intake.column(frame, "cost_nano_usd"))
    ]
    newest = np.maximum.reduceat(intake.column(frame, "ts_ms")[rows], start).tolist()
    keys, labels = np.divmod(packed[start], math.prod(map(len, texts)))
    whose = {code: _labels(code, texts) for code in np.unique(labels).tolist()}
    heads = zip(parts[start].tolist(), slots[start].tolist(), keys.tolist(), labels.tolist(), strict=True)
    for (part, slot, key, label), *more in zip(heads, *sums, newest, strict=True):
        yield (part, slot, ids[key], *whose[label]), more


def _labels(code: int, texts: list[list[str]]) -> tuple[str, str, str]:
    """Team, app and env again, unpacked in the reverse order of packing."""
    code, env = divmod(code, len(texts[2]))
    team, app = divmod(code, len(texts[1]))
    return texts[0][team], texts[1][app], texts[2][env]
