"""A frame as the census looks at it: which key, when, in which environment, from which neighbourhood. Pure."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from controls.neighbours import Hood, hood_of
from schemas.event import app_of
from schemas.records import KeyFacts

Whole = npt.NDArray[np.int64]


class Seen(NamedTuple):
    """Uses in one environment."""

    uses: int
    since_s: int  # the first of them


class FrameUses:
    """What the census looks at in a frame."""

    def __init__(self, frame: pa.RecordBatch) -> None:
        self._frame = frame
        self.key, self.keys = self._codes("key_id")
        self.ts_s = frame.column("ts_ms").to_numpy() // 1000
        self._env, self._envs = self._codes("env")
        self._place, self._places = self._all_places()

    def environments(self, rows: Whole) -> dict[str, Seen]:
        """By the environments that the events name; `rows` in the order of time."""
        values, first, counts = np.unique(self._env[rows], return_index=True, return_counts=True)
        times = self.ts_s[rows[first]]
        each = zip(values.tolist(), counts.tolist(), times.tolist(), strict=True)
        return {self._envs[value]: Seen(count, since_s) for value, count, since_s in each}

    def hoods(self, rows: Whole) -> list[tuple[int, Hood]]:
        """Where one key was used, in the order of time, told at each change; nothing where the place is not known."""
        places, times = self._place[rows], self.ts_s[rows]
        known = places >= 0
        places, times = places[known], times[known]
        begins = np.flatnonzero(np.concatenate(([True], places[1:] != places[:-1]))[: len(places)])
        return [(int(times[at]), self._places[int(places[at])]) for at in begins.tolist()]

    def facts(self, row: int) -> KeyFacts:
        provider, team, app, env = (
            self._frame.column(name)[row].as_py() for name in ("provider", "team", "app", "env")
        )
        return KeyFacts(
            provider=provider, team=team or "unknown", app=app_of(app or "unknown"), env=env or "unknown"
        )  # fmt: skip

    def _all_places(self) -> tuple[Whole, list[Hood]]:
        network, networks = self._codes("network")
        country, countries = self._codes("country")
        asn = self._frame.column("asn").fill_null(0).to_numpy().astype(np.int64)
        packed = (asn * len(networks) + network) * len(countries) + country
        values, first, place = np.unique(packed, return_index=True, return_inverse=True)
        hoods: list[Hood] = []
        numbers: dict[Hood | None, int] = {None: -1}
        of = np.empty(len(values), np.int64)
        for at, row in enumerate(first.tolist()):
            hood = hood_of(networks[network[row]], int(asn[row]), countries[country[row]])
            if hood not in numbers and hood is not None:
                numbers[hood] = len(hoods)
                hoods.append(hood)
            of[at] = numbers[hood]
        return of[place], hoods

    def _codes(self, name: str) -> tuple[Whole, list[str]]:
        """A text column as places in its list of distinct values; null is an empty text, one past the others."""
        array = self._frame.column(name)
        texts: list[str] = array.dictionary.to_pylist()
        return array.indices.fill_null(len(texts)).to_numpy().astype(np.int64), [*texts, ""]
