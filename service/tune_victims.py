"""A key of the history as the simulator's thefts want it: what its requests look like, where they come from. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa

from schemas.records import KeyFacts
from sources.simulator.arrivals import Rhythm
from sources.simulator.fitted import TOKEN_PROBABILITIES, TokenShape
from sources.simulator.keys import SimKey
from sources.simulator.prices import PROVIDERS, unit_prices
from sources.simulator.use import Origin, Use

_NOWHERE: Final = Origin("198.18.0.1", "US", 4_200_000_000)
_MOST: Final = 3  # models, hosts and programs that are copied


def sim_key(key_id: str, facts: KeyFacts, rows: pa.RecordBatch, *, lasted_s: float) -> SimKey:
    """The key as its rows of `lasted_s` seconds show it; without rows a plain one of its provider.

    A provider or model that the simulator has no price for becomes one that it has.
    """
    provider = facts.provider if facts.provider in PROVIDERS else "openai"
    return SimKey(
        key_id=key_id, provider=provider, team=facts.team, app=facts.app, env=facts.env, kind="constant",
        use=_use(provider, rows), rhythm=Rhythm(mean_rps=max(rows.num_rows, 1) / lasted_s),
        report_as=None if facts.provider in PROVIDERS else facts.provider,
    )  # fmt: skip


def _use(provider: str, rows: pa.RecordBatch) -> Use:
    known = PROVIDERS[provider]
    models = [(name, share) for name, share in _commonest(rows, "model") if _has_price(provider, name)]
    total = sum(share for _, share in models)
    return Use(
        provider=provider,
        endpoint=next((name for name, _ in _commonest(rows, "endpoint")), known.endpoint),
        models=tuple((name, share / total) for name, share in models) or ((known.middle, 1.0),),
        tokens=TokenShape("own", 1.0, _quantiles(rows, "input_tokens"), _quantiles(rows, "output_tokens")),
        origins=_origins(rows),
        user_agents=tuple(name for name, _ in _commonest(rows, "user_agent")) or ("OpenAI/Python 2.8.1",),
        user_ids=(None,),
    )


def _has_price(provider: str, model: str) -> bool:
    try:
        return unit_prices(provider, model).output > 0
    except LookupError:
        return False


def _commonest(rows: pa.RecordBatch, name: str) -> list[tuple[str, float]]:
    """The commonest values and their shares of the rows, commonest first."""
    counts = rows[name].value_counts().to_pylist()
    found = [(str(each["values"]), int(each["counts"])) for each in counts if each["values"] is not None]
    return [(value, count / rows.num_rows) for value, count in sorted(found, key=lambda one: (-one[1], one[0]))[:_MOST]]


def _origins(rows: pa.RecordBatch) -> tuple[Origin, ...]:
    places: dict[tuple[Any, ...], int] = {}
    for place in zip(*(rows[name].to_pylist() for name in ("ip", "country", "asn")), strict=True):
        places[place] = places.get(place, 0) + 1
    best = sorted((place for place in places if place[0]), key=lambda place: (-places[place], str(place)))[:_MOST]
    found = tuple(Origin(ip, country or _NOWHERE.country, asn or _NOWHERE.asn) for ip, country, asn in best)
    return found or (_NOWHERE,)


def _quantiles(rows: pa.RecordBatch, name: str) -> tuple[float, ...]:
    values = rows[name].to_numpy()
    values = values[values > 0]
    if not len(values):
        values = np.array([200.0, 2000.0])
    found: Sequence[float] = np.quantile(values, TOKEN_PROBABILITIES).tolist()
    return tuple(found)
