"""The loaders give back what the traces hold: counts, times, lengths, burstiness."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
import pytest

from schemas.event import UsageEvent
from sources.simulator.arrivals import weibull_cv
from sources.simulator.events import Event
from tests.traces import (
    START_MS,
    Columns,
    azure_events,
    columns_of,
    mooncake_events,
    needs,
    servegen_clients,
    servegen_events,
)

CLIENTS = ["m-large/0", "m-large/114", "m-large/48"]


@pytest.fixture(scope="module")
def published() -> dict[str, Columns]:
    rates = columns_of("servegen/rates.csv.gz")
    return {
        client: {
            name: column[(rates["pool"] == "m-large") & (rates["client"] == int(client[8:]))]
            for name, column in rates.items()
        }
        for client in CLIENTS
    }


@needs("servegen")
def test_every_window_has_the_published_number_of_requests(published: dict[str, Columns]) -> None:
    counted = {client: np.zeros(144, np.int64) for client in CLIENTS}
    for event in servegen_events(clients=CLIENTS, days=(1, 2), seed=1):
        counted[event["key_id"].removeprefix("servegen/")][(event["ts"] - START_MS - 86_400_000) // 600_000] += 1
    for client in CLIENTS:
        rates = published[client]
        second_day = (rates["t_s"] >= 86_400) & (rates["t_s"] < 2 * 86_400)
        expected = np.zeros(144, np.int64)
        expected[(rates["t_s"][second_day] - 86_400) // 600] = np.rint(rates["rate_rps"][second_day] * 600)
        assert counted[client].tolist() == expected.tolist()


@needs("servegen")
def test_thinning_keeps_one_request_in_so_many() -> None:
    whole = sum(1 for _ in servegen_events(clients=CLIENTS, days=(0, 1), seed=1))
    thinned = sum(1 for _ in servegen_events(clients=CLIENTS, days=(0, 1), thin=5, seed=1))
    assert thinned == pytest.approx(whole / 5, rel=0.05)


@needs("servegen")
@pytest.mark.parametrize("client", CLIENTS)
def test_gaps_are_as_bursty_as_the_published_shape_says(client: str, published: dict[str, Columns]) -> None:
    by_window: dict[int, list[int]] = {}
    for event in servegen_events(clients=[client], days=(0, 1), seed=1):
        by_window.setdefault((event["ts"] - START_MS) // 600_000 * 600, []).append(event["ts"])
    ours, theirs = [], []
    of_client = published[client]
    for t_s, family, shape in zip(of_client["t_s"], of_client["arrival"], of_client["param1"], strict=True):
        times = by_window.get(int(t_s), [])
        if len(times) >= 200:  # fewer gaps cannot show the tail
            gaps = np.diff(times)
            ours.append(gaps.std() / gaps.mean())
            theirs.append(weibull_cv(shape) if family == "Weibull" else shape**-0.5)
    assert len(ours) > 20
    assert np.median(ours) == pytest.approx(np.median(theirs), rel=0.2)


@needs("servegen")
def test_lengths_follow_the_published_quantiles() -> None:
    tokens = columns_of("servegen/tokens.csv.gz")
    row = np.flatnonzero((tokens["pool"] == "m-large") & (tokens["client"] == 0) & (tokens["t_s"] == 0))[0]
    events = [
        event
        for event in servegen_events(clients=["m-large/0"], days=(0, 1), seed=1)
        if event["ts"] < START_MS + 21_600_000
    ]
    assert len(events) > 500
    for quantile in ("p10", "p50", "p90"):
        p = int(quantile[1:])
        assert np.percentile([event["input_tokens"] for event in events], p) == pytest.approx(
            tokens[f"input_{quantile}"][row], rel=0.1
        )
        assert np.percentile([event["output_tokens"] for event in events], p) == pytest.approx(
            tokens[f"output_{quantile}"][row], rel=0.1
        )


@needs("servegen")
def test_clients_are_listed_busiest_first() -> None:
    clients = servegen_clients()
    assert len(clients) == len(set(clients)) == 205
    first = sum(1 for _ in servegen_events(clients=clients[:1], days=(0, 1), thin=100))
    last = sum(1 for _ in servegen_events(clients=clients[-1:], days=(0, 1), thin=100))
    assert first > last


@needs("azure-llm")
def test_azure_requests_are_all_there_with_their_lengths() -> None:
    events = list(azure_events())
    conv = [event for event in events if event["key_id"] == "azure/conv"]
    source = columns_of("azure-llm/AzureLLMInferenceTrace_conv.csv")
    assert len(events) == 28_185
    assert sum(event["input_tokens"] for event in conv) == source["ContextTokens"].sum()
    assert sum(event["output_tokens"] for event in conv) == source["GeneratedTokens"].sum()
    assert all(before["ts"] <= after["ts"] for before, after in pairwise(events))
    UsageEvent.model_validate(events[0])


@needs("mooncake")
def test_mooncake_requests_are_all_there_and_share_prefixes() -> None:
    events = list(mooncake_events())
    assert len(events) == 12_031
    assert (events[0]["input_tokens"], events[0]["output_tokens"], events[0]["cached_input_tokens"]) == (6758, 500, 0)
    share = sum(event["cached_input_tokens"] for event in events) / sum(event["input_tokens"] for event in events)
    assert 0.2 < share < 0.6  # the trace's authors give a third to a half for an unbounded cache
    assert events[-1]["ts"] - events[0]["ts"] < 3_600_000
    UsageEvent.model_validate(events[-1])


@pytest.mark.parametrize(
    "events", [lambda: servegen_events(clients=CLIENTS, days=(0, 1), thin=20, seed=2)], ids=["servegen"]
)
@needs("servegen")
def test_the_same_seed_gives_the_same_valid_events_in_time_order(events: Callable[[], Iterator[Event]]) -> None:
    once, again = list(events()), list(events())
    assert once == again
    assert all(before["ts"] <= after["ts"] for before, after in pairwise(once))
    assert len({event["event_id"] for event in once}) == len(once)
    for event in once:
        UsageEvent.model_validate(event)
