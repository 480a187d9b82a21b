"""The core as its callers see it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from detectors import codec
from detectors.core import ScoreCore
from detectors.examples import NOW_S
from detectors.placement import shard_of
from schemas.config.detectors import DetectorsConfig
from schemas.records import KeyFacts
from tests.detectors.build import frame

LIMITS = {"limits": {"usd_per_min": 1.0}, "velocity": {"enabled": False}, "cohort": {"enabled": False}}


def new_core(settings: dict[str, Any] | None = None, **given: Any) -> ScoreCore:
    return ScoreCore(DetectorsConfig.model_validate(settings or LIMITS), partition=0, **given)


def windows(core: ScoreCore) -> dict[str, float]:
    known = core.windows("k1")
    assert known is not None
    return known


def spend(cost_usd: float, *, at: int = 0, ts_s: float = NOW_S, **given: Any) -> dict[str, Any]:
    return {"at": at, "ts_s": ts_s, "key_id": "k1", "cost_usd": cost_usd, **given}


def test_a_breached_limit_is_certain_and_critical() -> None:
    core = new_core()

    told = core.process(frame([spend(0.7), spend(0.6, at=1)])) + core.advance(NOW_S + 1)

    (finding,) = told
    assert (finding.family, finding.detector, finding.certain, finding.severity) == (
        "policy", "usd_per_min", True, "critical",
    )  # fmt: skip
    assert finding.reason == "spends 1.3 USD/min, its limit is 1 USD/min; this limit is certain"
    assert finding.evidence == {"observed": 1.3, "limit": 1.0, "window_s": 60.0, "ratio": 1.3}
    assert (finding.at_ms, finding.usd_per_min, finding.score) == (NOW_S * 1000, 1.3, 1.3)
    assert finding.facts == KeyFacts(provider="openai", team="search", env="prod")


def test_what_is_learned_is_judged_when_the_clock_has_passed_the_second_and_once() -> None:
    core = new_core({"limits": {"enabled": False}})

    assert core.process(frame([spend(2000.0)])) == []
    assert core.advance(NOW_S) == []
    assert {finding.family for finding in core.advance(NOW_S + 1)} == {"velocity"}
    assert core.advance(NOW_S + 2) == []


def test_a_late_row_counts_in_its_own_second_and_is_judged_at_the_clock() -> None:
    core = new_core()
    rows = [spend(0.8, ts_s=NOW_S), spend(0.0, at=1, ts_s=NOW_S + 50), spend(0.8, at=2, ts_s=NOW_S + 5)]

    told = core.process(frame(rows)) + core.advance(NOW_S + 51)

    assert [finding.at_ms for finding in told] == [(NOW_S + 50) * 1000]
    assert windows(core)["usd_1m"] == pytest.approx(0.8 + 0.8)


def test_the_same_is_not_said_again_within_a_minute_unless_ten_times_worse() -> None:
    core = new_core()
    costs = [(0, 1.5), (10, 0.5), (30, 30.0), (95, 2.0)]
    rows = [spend(cost, at=n, ts_s=NOW_S + second) for n, (second, cost) in enumerate(costs)]

    told = core.process(frame(rows)) + core.advance(NOW_S + 200)

    assert [finding.at_ms // 1000 - NOW_S for finding in told] == [0, 30, 95]


@pytest.mark.parametrize(
    ("overrides", "breached"),
    [
        ({}, True),
        ({"environments": {"prod": {"usd_per_min": 5.0}}}, False),
        ({"environments": {"prod": {"usd_per_hour": 5.0}}}, True),
        ({"environments": {"prod": {"usd_per_min": None}}}, False),
        ({"environments": {"prod": {"usd_per_min": 5.0}}, "keys": {"k1": {"usd_per_min": 1.5}}}, True),
        ({"environments": {"dev": {"usd_per_min": 5.0}}}, True),
        ({"limits": {"usd_per_min": None}}, False),
        ({"limits": {"enabled": False, "usd_per_min": 1.0}}, False),
    ],
)
def test_limits_come_from_key_then_environment_then_everywhere(overrides: dict[str, Any], breached: bool) -> None:
    core = new_core(LIMITS | overrides)

    told = core.process(frame([spend(2.0)])) + core.advance(NOW_S + 1)

    assert bool(told) is breached


def test_a_forbidden_model_is_told_with_its_policy() -> None:
    def forbidden(key_id: str, facts: KeyFacts, model: str) -> str | None:
        return "small-only" if model == "o3-pro" and facts.team == "search" else None

    core = new_core(forbidden=forbidden)
    rows = [spend(0.01), spend(0.01, at=1, ts_s=NOW_S + 1, model="o3-pro"), spend(0.01, at=2, key_id="k2", team="x")]

    (finding,) = core.process(frame(rows)) + core.advance(NOW_S + 2)

    assert (finding.family, finding.detector, finding.certain) == ("policy", "allowed_models", True)
    assert finding.reason == "uses o3-pro, which policy small-only does not allow; this limit is certain"
    assert finding.evidence["policy"] == "small-only"


def test_models_are_asked_about_once_until_the_settings_change() -> None:
    asked = []
    core = new_core(forbidden=lambda key_id, facts, model: asked.append(model))
    for second in range(3):
        core.process(frame([spend(0.01, at=second, ts_s=NOW_S + second)]))

    core.reconfigure(DetectorsConfig.model_validate(LIMITS))
    core.process(frame([spend(0.01, at=9, ts_s=NOW_S + 9)]))

    assert asked == ["gpt-4.1-mini", "gpt-4.1-mini"]


def test_more_models_than_are_remembered_are_still_judged() -> None:
    core = new_core(forbidden=lambda key_id, facts, model: "p" if model in {"m3", "m99"} else None)
    rows = [spend(0.0, at=n, ts_s=NOW_S + 100 * n, model=f"m{n}") for n in range(120)]

    told = core.process(frame(rows)) + core.advance(NOW_S + 20_000)

    assert [finding.evidence["model"] for finding in told] == ["m3", "m99"]


def test_the_registry_is_believed_over_the_row() -> None:
    facts = KeyFacts(provider="openai", team="billing", env="dev", protected=True)
    core = new_core(facts_of=lambda key_id: facts if key_id == "k1" else None)

    told = core.process(frame([spend(2.0), spend(2.0, at=1, key_id="k2")])) + core.advance(NOW_S + 1)

    assert [finding.facts.team for finding in told] == ["billing", "search"]


def test_reconfigured_limits_hold_from_now_on() -> None:
    core = new_core()
    core.process(frame([spend(2.0)]))

    core.reconfigure(DetectorsConfig.model_validate(LIMITS | {"limits": {"usd_per_min": 3.0}}))

    assert core.advance(NOW_S + 1) == []


def test_windows_include_the_open_second() -> None:
    core = new_core()
    core.process(frame([spend(0.25), spend(0.5, at=1, ts_s=NOW_S + 20)]))

    before = windows(core)
    core.advance(NOW_S + 21)

    assert before["requests_10s"] == 1
    assert before["usd_1m"] == before["usd_1h"] == 0.75
    assert windows(core)["usd_1m"] == 0.75
    assert core.windows("unheard-of") is None


def test_the_summary_lists_every_key() -> None:
    core = new_core()
    core.process(frame([spend(0.25, key_id=f"k{n}", at=n) for n in range(5)]))
    core.process(frame([spend(0.5, at=9, key_id="k3", ts_s=NOW_S + 7200)]))
    core.advance(NOW_S + 7201)

    uses = {use.key_id: use for use in core.summary()}

    assert (uses["k3"].usd_1m, uses["k3"].requests_1m, uses["k3"].last_seen_s) == (0.5, 1, NOW_S + 7200)
    assert (uses["k1"].usd_1h, uses["k1"].last_seen_s) == (0, NOW_S)
    assert (core.known_keys, core.active_keys()) == (5, 1)


def test_of_the_active_keys_those_that_the_registry_knows_are_counted() -> None:
    known = {"k1"}
    facts = KeyFacts(provider="openai")
    core = ScoreCore(DetectorsConfig(), partition=0, facts_of=lambda key_id: facts if key_id in known else None)
    core.process(frame([spend(0.25, key_id=f"k{n}", at=n) for n in range(5)]))
    core.advance(NOW_S + 5)
    assert (core.active_keys(), core.active_registered_keys()) == (5, 1)
    known |= {"k2", "k3", "never-seen"}
    core.reconfigure(DetectorsConfig())
    assert core.active_registered_keys() == 3
    core.process(frame([spend(0.5, at=9, key_id="k3", ts_s=NOW_S + 7200)]))
    core.advance(NOW_S + 7201)
    assert (core.active_keys(), core.active_registered_keys()) == (1, 1)


@pytest.mark.parametrize(
    ("formerly", "limit"), [((), 50.0), (("a",), 1.0), (("a", "b"), 2.0), (("b", "a", "x"), 1.0), (("x",), 50.0)]
)
def test_a_keys_own_limit_holds_for_whoever_takes_over_from_it(formerly: tuple[str, ...], limit: float) -> None:
    own = {"keys": {"a": {"usd_per_min": 1.0}, "b": {"usd_per_min": 2.0}}, "limits": {"usd_per_min": 50.0}}
    entries = {"k1": KeyFacts(provider="openai")}
    core = new_core(LIMITS | own, facts_of=entries.get)
    core.process(frame([spend(0.0)]))
    entries["k1"] = KeyFacts(provider="openai", formerly=formerly)
    core.book.settle("k1")
    told = core.process(frame([spend(60.0, at=1)])) + core.advance(NOW_S + 1)
    assert [finding.evidence["limit"] for finding in told if finding.detector == "usd_per_min"] == [limit]


def test_shards_are_dirty_from_their_first_change_until_exported() -> None:
    core = new_core()
    keys = ["a", "b", "c", "d", "e"]
    for number, key in enumerate(keys):
        core.process(frame([spend(0.0, at=number, key_id=key)]))
    order = list(dict.fromkeys(shard_of(key, 16) for key in keys))

    assert core.dirty_shards() == order
    core.export_shard(order[0])
    assert core.dirty_shards() == order[1:]
    core.advance(NOW_S + 1)
    assert core.dirty_shards() == [*order[1:], order[0]]


def test_an_empty_frame_and_unknown_shards_are_harmless() -> None:
    core = new_core()

    assert core.process(frame([])) == []
    new_core().import_shard(5, core.export_shard(5))


def test_rows_of_one_endless_second_are_compacted_without_loss() -> None:
    core = new_core({**LIMITS, "limits": {"enabled": False}})
    rows = [spend(0.001, at=n, key_id=f"k{n % 3}") for n in range(3000)]
    base = frame(rows)
    for part in range(80):
        core.process(_shifted(base, part * 3000))

    assert core.pending[0].shape[1] < 210_000
    core.advance(NOW_S + 1)
    assert sum(use.requests_1m for use in core.summary()) == 240_000


def _shifted(batch: pa.RecordBatch, by: int) -> pa.RecordBatch:
    offsets = batch.column("raw_offset").to_numpy() + by
    hashes = batch.column("event_hash").to_numpy() + np.uint64(by * 2**20)
    batch = batch.set_column(1, batch.schema.field(1), pa.array(offsets))
    return batch.set_column(3, batch.schema.field(3), pa.array(hashes))


def test_shards_stay_small() -> None:
    core = new_core({})
    for part in range(4):
        core.process(
            frame([spend(0.001 * (n % 7), at=part * 5000 + n, key_id=f"k{n}", ts_s=NOW_S + part) for n in range(5000)])
        )

    assert max(len(core.export_shard(shard)) for shard in range(16)) < 512 * 1024


@pytest.mark.parametrize("damage", [b"", b"junk", codec.MAGICS[0] + (50).to_bytes(8, "little") + b"x" * 50])
def test_damaged_state_is_refused(damage: bytes) -> None:
    with pytest.raises(ValueError, match="state"):
        codec.decode(damage)
