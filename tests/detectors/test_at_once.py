"""What is certain is said at the row that makes it so: what the second's end would say, had it ended there."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controls.policies import Policies
from detectors.at_once import Arrived, AtOnce
from detectors.core import ScoreCore
from detectors.examples import NOW_S
from detectors.placement import shard_of
from detectors.state import Array
from schemas.config.detectors import DetectorsConfig
from schemas.config.policies import PoliciesConfig, PolicyConfig
from schemas.records import Finding
from tests.detectors.build import frame
from tests.detectors.history import Store, cut, everything

Event = dict[str, Any]
NO_LIMITS: dict[str, Any] = {"usd_per_min": None, "usd_per_hour": None, "requests_per_s": None}
QUIET = {"velocity": {"enabled": False}, "cohort": {"enabled": False}}


def core_of(*, limits: dict[str, Any] | None = None, rules: dict[str, Any] | None = None, **given: Any) -> ScoreCore:
    """A core of these limits alone, and of one policy for all keys."""
    policies = Policies(PoliciesConfig(policies=(PolicyConfig.model_validate({"name": "p", **(rules or {})}),)))
    config = {**QUIET, "limits": {**NO_LIMITS, **(limits or {})}, **given}
    return ScoreCore(
        DetectorsConfig.model_validate(config), partition=0, shards=4, forbidden=policies.forbidden,
        watch_of=lambda key_id, facts: policies.covering(key_id, facts, None),
    )  # fmt: skip


def use(at: int, cost_usd: float = 0.0, *, after_s: float = 0.0, **given: Any) -> Event:
    plain = {"key_id": "k1", "ip": "198.51.100.7", "endpoint": "/v1/chat/completions"}
    return {"at": at, "ts_s": NOW_S + after_s, "cost_usd": cost_usd, **plain, **given}


def row_by_row(core: ScoreCore, events: list[Event]) -> Iterator[tuple[int, Finding]]:
    """What is said, each with the row at which it is said."""
    for number, event in enumerate(events):
        yield from ((number, finding) for finding in core.process(frame([event])))


CAPS: dict[str, tuple[dict[str, Any], list[Event], int, float]] = {
    "a minute": ({"limits": {"usd_per_min": 1.0}}, [use(0, 0.6), use(1, 0.4), use(2, 0.1), use(3, 9.0)], 2, 1.1),
    "a minute, with what was spent in seconds before": (
        {"limits": {"usd_per_min": 1.0}}, [use(0, 0.6), use(1, 0.3, after_s=58), use(2, 0.2, after_s=58)], 2, 1.1),
    "a minute, without what is older": (
        {"limits": {"usd_per_min": 1.0}}, [use(0, 0.6), use(1, 0.9, after_s=60), use(2, 0.2, after_s=60)], 2, 1.1),
    "an hour": (
        {"limits": {"usd_per_hour": 3.0}},
        [use(0, 1.0), use(1, 1.5, after_s=1800), use(2, 0.4, after_s=3000), use(3, 0.3, after_s=3000)], 3, 3.2),
    "requests": (
        {"limits": {"requests_per_s": 2.0}}, [use(n, after_s=n // 8, requests=2) for n in range(14)], 10, 2.2),
    "a day": (
        {"budget": {"usd_per_day": 5.0}}, [use(0, 3.0), use(1, 1.0, after_s=7200), use(2, 1.5, after_s=7200)], 2, 5.5),
    "a month": (
        {"budget": {"usd_per_month": 5.0}},
        [use(0, 4.0), use(1, 0.5, after_s=86_400), use(2, 0.8, after_s=86_400), use(3, after_s=86_400)], 2, 5.3),
}  # fmt: skip


@pytest.mark.parametrize(("limited", "events", "row", "observed"), CAPS.values(), ids=CAPS)
def test_the_row_that_passes_a_limit_is_the_one_at_which_it_is_told(
    limited: dict[str, Any], events: list[Event], row: int, observed: float
) -> None:
    core = core_of(**limited)
    [(number, finding), *_] = row_by_row(core, events)
    assert (number, finding.evidence["observed"], finding.certain) == (row, observed, True)
    assert finding.at_ms == int(events[row]["ts_s"]) * 1000


RULES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "allowed_models": ({"allowed_models": ["gpt-4.1*"]}, {"model": "o3-pro"}),
    "allowed_endpoints": ({"allowed_endpoints": ["/v1/chat/*"]}, {"endpoint": "/v1/batches"}),
    "networks": ({"networks": ["198.51.100.0/24"]}, {"ip": "203.0.113.9", "network": "203.0.113.0/24"}),
    "countries": ({"countries": ["DE"]}, {"country": "RU"}),
    "max_input_tokens": ({"max_input_tokens": 1000}, {"input_tokens": 1500}),
    "max_output_tokens": ({"max_output_tokens": 1000}, {"output_tokens": 1500}),
    "hours": ({"hours": {"days": ["mon"], "from": "00:00", "until": "10:01"}}, {"ts_s": NOW_S + 60.0}),
}


@pytest.mark.parametrize(("rules", "breach"), RULES.values(), ids=RULES)
def test_the_first_row_that_a_policy_forbids_is_the_one_at_which_it_is_told(
    rules: dict[str, Any], breach: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    core = core_of(rules=rules)
    events = [use(0), use(1), use(2) | breach, use(3) | breach]
    [(number, finding)] = row_by_row(core, events)
    assert (number, finding.detector) == (2, request.node.callspec.id)
    assert core.advance(NOW_S + 61) == []


def test_the_end_of_the_second_does_not_say_it_again() -> None:
    core = core_of(limits={"usd_per_min": 1.0})
    told = core.process(frame([use(0, 0.6), use(1, 0.5), use(2, 0.5)]))
    assert [finding.evidence["observed"] for finding in told] == [1.1]
    assert core.advance(NOW_S + 1) == []


@pytest.mark.parametrize("together", [True, False])
def test_what_became_far_worse_is_told_at_the_end_as_another_finding(together: bool) -> None:
    """Of a second in which a theft begins at full speed the first figure alone would say far too little."""
    core = core_of(limits={"usd_per_min": 1.0})
    events = [use(0, 0.6), use(1, 0.5), use(2, 2.0), use(3, 7.0)]
    frames = [frame(events)] if together else [frame([event]) for event in events]
    first, last = [f for one in frames for f in core.process(one)] + core.advance(NOW_S + 1)
    assert [f.evidence["observed"] for f in (first, last)] == [1.1, 10.1]
    assert (first.at_ms, last.at_ms) == (NOW_S * 1000, NOW_S * 1000 + 999), "who decides drops what is not newer"
    assert first.finding_id != last.finding_id


def test_within_the_quiet_time_it_is_told_at_the_row_where_it_is_far_worse() -> None:
    core = core_of(limits={"usd_per_min": 1.0})
    events = [use(0, 1.5), use(1, 0.5, after_s=10), use(2, 1.0, after_s=10), use(3, 2.0, after_s=10)]
    assert [(number, f.evidence["observed"]) for number, f in row_by_row(core, events)] == [(0, 1.5), (3, 5.0)]


def test_a_producers_retry_is_not_counted_and_a_late_row_not_in_the_minute() -> None:
    core = core_of(limits={"usd_per_min": 1.0})
    events = [
        use(0, 0.6, after_s=100, event_hash=7), use(1, 0.6, after_s=100, event_hash=7), use(2, 0.9, after_s=40),
        use(3, 0.5, after_s=100),
    ]  # fmt: skip
    assert [(number, f.evidence["observed"]) for number, f in row_by_row(core, events)] == [(3, 1.1)]


def test_an_announced_limit_is_the_one_that_counts() -> None:
    announced = {"what": "w", "owner": "o", "reason": "r", "from": "2026-11-23", "until": "2026-11-24"}
    core = core_of(limits={"usd_per_min": 1.0}, announced=[{**announced, "limits_times": 3.0}])
    events = [use(0, 1.5), use(1, 1.4), use(2, 0.2)]
    assert [(number, f.score) for number, f in row_by_row(core, events)] == [(2, 1.033)]


def test_settings_change_what_is_known_of_the_room_that_is_left() -> None:
    core = core_of(limits={"usd_per_min": 100.0})
    core.process(frame([use(0, 5.0)]))
    core.reconfigure(DetectorsConfig.model_validate({**QUIET, "limits": {**NO_LIMITS, "usd_per_min": 5.5}}))
    [finding] = core.process(frame([use(1, 0.6)]))
    assert finding.evidence["observed"] == 5.6


class Counting(AtOnce):
    """Counts the frames in which rows were looked at one by one."""

    looked = 0

    def take(self, arrived: Arrived, pending: list[Array]) -> None:
        super().take(arrived, pending)
        self.looked += self._waiting.shape[1] > 0


def test_a_key_far_from_its_limits_is_not_looked_at_row_by_row() -> None:
    core = core_of(limits={"usd_per_min": 1.0, "usd_per_hour": 50.0}, budget={"usd_per_day": 50.0})
    core.at_once = at_once = Counting(
        core.table, core.folder, core.book, core.judge, columns=lambda: core.book.columns
    )  # fmt: skip
    for number in range(300):
        core.process(frame([use(number, 0.0005, after_s=number / 10)]))
    assert at_once.looked == 0
    told = [f for n in range(300, 335) for f in core.process(frame([use(n, 0.1, after_s=n / 10)])) if f.certain]
    assert [finding.evidence["observed"] for finding in told] == [1.05, 3.25], "over, and at three times the spend"
    assert 2 <= at_once.looked < 10, "one that was spoken of rests"


# What is said, over histories in which keys come near their limits and pass them.

TOUCHY: dict[str, Any] = {
    "limits": {"usd_per_min": 1.0, "usd_per_hour": 4.0, "requests_per_s": 3.0},
    "rules": {"allowed_models": ["gpt-4.1*"], "countries": ["DE", "FR"], "max_input_tokens": 3000},
    "budget": {"usd_per_day": 9.0, "usd_per_month": 20.0}, "time": {"refractory_s": 20, "dedup_s": 60},
    "keys": {"k2": {"usd_per_min": 0.2}, "k3": {"requests_per_s": None}},
}  # fmt: skip


def touchy() -> ScoreCore:
    return core_of(**TOUCHY)


def history(seed: int, rows: int = 120) -> pa.RecordBatch:
    """Many rows of a second, few of the next; retries, late rows, leaps over minutes and days."""
    rng, events = random.Random(seed), list[Event]()
    now_s, offsets = float(NOW_S), [0, 0]
    for _ in range(rows):
        now_s += rng.choice([0, 0, 0, 0.05, 0.3]) if rng.random() < 0.9 else rng.choice([1, 9, 40, 70, 700, 50_000])
        partition = rng.randrange(2)
        offsets[partition] += 1
        event = use(
            offsets[partition], rng.choice([0.001, 0.03, 0.3, 0.3, 2.5]), raw_partition=partition,
            key_id=f"k{rng.randrange(4)}", requests=rng.choice([1, 1, 1, 12]), event_hash=rng.randrange(2**64),
            model="o3" if rng.random() < 0.04 else "gpt-4.1", country="RU" if rng.random() < 0.04 else "DE",
            input_tokens=rng.choice([100, 100, 4000]) if rng.random() < 0.1 else 100,
        ) | {"ts_s": now_s - (rng.random() < 0.1) * rng.choice([1, 30, 200])}  # fmt: skip
        if events and rng.random() < 0.08:
            event |= {name: events[-1][name] for name in ("event_hash", "key_id", "cost_usd")}
        events.append(event)
    return frame(events)


def run(core: ScoreCore, frames: list[pa.RecordBatch]) -> list[Finding]:
    told = [finding for one in frames for finding in core.process(one)]
    return told + core.advance(core.clock_s + 1)


def each_row(rows: pa.RecordBatch) -> list[pa.RecordBatch]:
    return cut(rows, list(range(1, rows.num_rows)))


def test_the_histories_say_all_that_can_be_certain() -> None:
    """Otherwise the properties below would compare silence with silence."""
    told = [finding for seed in range(8) for finding in run(touchy(), [history(seed)])]
    assert {f.detector for f in told if f.certain} == {
        "usd_per_min", "usd_per_hour", "requests_per_s", "usd_per_day", "usd_per_month", "allowed_models", "countries",
        "max_input_tokens",
    }  # fmt: skip
    assert sum(f.at_ms % 1000 == 999 for f in told) > 10


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 100_000), places=st.lists(st.integers(1, 119), max_size=30))
def test_it_is_the_same_however_the_rows_were_cut_into_frames(seed: int, places: list[int]) -> None:
    rows, whole, parts = history(seed), touchy(), touchy()
    assert run(whole, [rows]) == run(parts, cut(rows, places))
    assert everything(whole) == everything(parts)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 100_000), places=st.lists(st.integers(1, 119), max_size=15), data=st.data())
def test_it_is_the_same_after_a_crash_at_any_frame(seed: int, places: list[int], data: st.DataObject) -> None:
    frames = cut(history(seed), [*places, 60])
    undisturbed, core, store = touchy(), touchy(), Store(touchy)
    expected = run(undisturbed, frames)
    told: list[Finding] = []
    for number, one in enumerate(frames[: data.draw(st.integers(1, len(frames)))], 1):
        told += core.process(one)
        store.clocks.append(core.clock_s)
        for shard in data.draw(st.lists(st.integers(0, 3), max_size=3)):
            store.write(core, shard, number)
    restored, start = store.restored(cohorts_first=data.draw(st.booleans()))
    again = run(restored, frames[start:])
    known = {finding.finding_id: finding for finding in told}
    assert all(known.get(finding.finding_id, finding) == finding for finding in again), "the same in other words"
    assert known | {f.finding_id: f for f in again} == {f.finding_id: f for f in expected}
    assert everything(restored) == everything(undisturbed)


def test_of_rows_that_were_spoken_of_nothing_is_said_again_after_a_crash() -> None:
    core, store = touchy(), Store(touchy)
    rows = frame([use(0, 2.0), use(1, after_s=100)])
    assert core.process(rows)
    store.write(core, (shard_of("k1", 4) + 1) % 4, 1)
    restored, start = store.restored()
    assert (start, restored.process(rows)) == (0, [])


class Never(AtOnce):
    """As it was before: what is certain waits for the end of the second."""

    def take(self, arrived: Arrived, pending: list[Array]) -> None:
        pass


def waiting() -> ScoreCore:
    core = touchy()
    core.at_once = Never(core.table, core.folder, core.book, core.judge, columns=lambda: core.book.columns)
    return core


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 100_000))
def test_what_is_told_first_of_a_key_is_what_the_end_would_say_had_the_second_ended_there(seed: int) -> None:
    rows, core, heard = history(seed, 60), touchy(), set[tuple[str, str]]()
    for number, one in enumerate(each_row(rows), 1):
        for finding in core.process(one):
            if not finding.certain or (finding.key_id, finding.family) in heard:
                continue
            heard.add((finding.key_id, finding.family))
            assert finding in run(waiting(), [rows.slice(0, number)])


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 100_000))
def test_what_the_end_would_tell_first_of_a_key_is_told_in_the_same_second_and_not_later(seed: int) -> None:
    rows = history(seed, 60)
    first: list[dict[tuple[str, str], int]] = [{}, {}]
    for known, core in zip(first, (touchy(), waiting()), strict=True):
        for finding in run(core, [rows]):
            if finding.certain:
                known.setdefault((finding.key_id, finding.family), finding.at_ms)
    assert first[0] == first[1]
