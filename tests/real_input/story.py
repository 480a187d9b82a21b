"""Real traffic with thefts planted in it: what the agreement test and `benchmarks/real_input.py` play.

ServeGen's clients are thinned: each keeps one request in 4^n, with n so that it has a few hundred to a few thousand
left. The one-hour traces of Azure and Mooncake are whole, split at random over a few keys each.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from sources.simulator.events import Event
from sources.simulator.fitted import TokenShape
from sources.simulator.keys import SimKey, make_keys
from sources.simulator.thefts import Theft, steal
from tests.traces import (
    START_MS,
    azure_events,
    columns_of,
    mooncake_events,
    servegen_events,
)

DAY_MS: Final = 86_400_000
HOUR_MS: Final = 3_600_000
TRACE_HOUR_MS: Final = START_MS + DAY_MS + 10 * HOUR_MS  # the one-hour traces are set to ten o'clock of the second day
KEYS_PER_TRACE: Final = 3
_THIN_BASE: Final = 4


@dataclass(frozen=True)
class Client:
    """One ServeGen client as a key. `thin`: it keeps one request in so many."""

    name: str
    key: SimKey
    thin: int
    events: int  # expected after thinning


@dataclass(frozen=True)
class Story:
    """Owners' and thieves' events in time order, and which are the thieves'."""

    events: Sequence[Event]
    thefts: Sequence[Theft]
    stolen: Mapping[str, int]  # event_id -> place in `thefts`
    keys: frozenset[str]

    @property
    def touched(self) -> frozenset[str]:
        """Keys that some theft uses."""
        return frozenset(key.key_id for theft in self.thefts for key in theft.keys)


def requests_by_client(days: tuple[int, int]) -> dict[str, int]:
    """Published requests of every client within these days."""
    rates = columns_of("servegen/rates.csv.gz")
    inside = (rates["t_s"] >= days[0] * 86_400) & (rates["t_s"] < days[1] * 86_400)
    names, who = np.unique(_names(rates), return_inverse=True)
    totals = np.bincount(who, np.rint(rates["rate_rps"] * 600) * inside, minlength=len(names))
    return {str(name): int(total) for name, total in zip(names, totals, strict=True)}


def clients_of(requests: Mapping[str, int], *, days: tuple[int, int], per_key: int) -> list[Client]:
    """The clients as keys, each thinned to between a half and two times `per_key` events (quiet ones not at all)."""
    bands: dict[int, list[str]] = {}
    for name, total in requests.items():
        thin = _THIN_BASE ** max(0, round(np.log(max(total, 1) / per_key) / np.log(_THIN_BASE)))
        bands.setdefault(int(thin), []).append(name)
    tokens = _median_tokens(requests)
    seconds = (days[1] - days[0]) * 86_400
    return [
        Client(name, _as_key(made, name, tokens[name], requests[name] / thin / seconds), thin, requests[name] // thin)
        for thin, names in sorted(bands.items())
        for name, made in zip(names, make_keys(len(names), seed=thin), strict=True)
    ]


def _as_key(made: SimKey, name: str, tokens: TokenShape, rps: float) -> SimKey:
    """The owner that `servegen_events` makes up, with the client's own lengths and mean rate, as a thief finds them."""
    use = replace(made.use, tokens=tokens, fruitless=(), input_factor=1.0, output_factor=1.0)
    return replace(
        made, key_id=f"servegen/{name}", use=use, rhythm=replace(made.rhythm, mean_rps=rps, active_share=1.0)
    )


def client_events(clients: Sequence[Client], *, days: tuple[int, int]) -> list[Event]:
    """The thinned requests of all clients, in time order."""
    events: list[Event] = []
    for thin in sorted({client.thin for client in clients}):
        names = [client.name for client in clients if client.thin == thin]
        events += servegen_events(clients=names, days=days, thin=thin, seed=thin)
    return in_order(events)


def one_hour_traces() -> list[Event]:
    """Azure's and Mooncake's hours, side by side, as `azure/code/0`, `mooncake/chat/2` and so on."""
    events: list[Event] = []
    for trace in (azure_events(), mooncake_events()):
        whole = list(trace)
        shift_ms = TRACE_HOUR_MS - int(whole[0]["ts"])
        lot = np.random.default_rng(5).integers(KEYS_PER_TRACE, size=len(whole)).tolist()
        for event, part in zip(whole, lot, strict=True):
            events.append(event | {"ts": event["ts"] + shift_ms, "key_id": f"{event['key_id']}/{part}"})
    return in_order(events)


def story(owners: Iterable[Event], thefts: Sequence[Theft]) -> Story:
    """Both in one."""
    stolen: dict[str, int] = {}
    events = list(owners)
    keys = frozenset(str(event["key_id"]) for event in events)
    for place, theft in enumerate(thefts):
        for event in steal(theft):
            stolen[event["event_id"]] = place
            events.append(event)
    return Story(in_order(events), thefts, stolen, keys)


def in_order(events: Iterable[Event]) -> list[Event]:
    """By time; equal times keep their order."""
    return sorted(events, key=lambda event: int(event["ts"]))


def _median_tokens(names: Iterable[str]) -> dict[str, TokenShape]:
    """Each client's median quantiles; the median of all for the few clients without any."""
    columns = columns_of("servegen/tokens.csv.gz")
    sides = [[name for name in columns if name.startswith(side)] for side in ("input_p", "output_p")]
    all_names = _names(columns)

    def shape(name: str) -> TokenShape:
        rows = np.flatnonzero(all_names == name)
        rows = rows if len(rows) else np.arange(len(all_names))
        asked, answered = (tuple(float(np.median(columns[column][rows])) for column in side) for side in sides)
        return TokenShape("servegen", 1.0, asked, answered)

    return {name: shape(name) for name in names}


def _names(columns: Mapping[str, np.ndarray]) -> np.ndarray:
    return np.char.add(np.char.add(columns["pool"].astype(str), "/"), columns["client"].astype(str))
