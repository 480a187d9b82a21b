"""What policies forbid beyond models, found in the stream: the same rows as a plain reading of the policies finds."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings

from controls.policies import Policies
from detectors import rows as r
from detectors.breaches import BITS, SETTING
from detectors.core import ScoreCore
from detectors.intake import Intake
from schemas.config.detectors import DetectorsConfig
from schemas.config.policies import PoliciesConfig, PolicyConfig
from schemas.exception import PolicyException
from schemas.key_record import KeyRecord
from schemas.records import Finding, KeyFacts
from tests.controls import policy_reference
from tests.controls.policy_worlds import World, worlds
from tests.detectors.build import NOW_S, frame

QUIET = DetectorsConfig.model_validate({"limits": {"enabled": False}})


def core_of(policies: Policies, entries: dict[str, KeyRecord | None] | None = None, **given: Any) -> ScoreCore:
    known = entries or {}
    return ScoreCore(
        QUIET, partition=0, forbidden=policies.forbidden,
        watch_of=lambda key_id, facts: policies.covering(key_id, facts, known.get(key_id)), **given,
    )  # fmt: skip


def marked(core: ScoreCore, events: list[dict[str, Any]]) -> list[int]:
    """What a frame's rows are told to break, in their order."""
    intake, batch = Intake(core.book, core.models, core.places), frame(events)
    at, ids, slots, _ = intake.keys(batch)
    intake.admit(batch, at, ids, slots)
    found: list[int] = intake.rows(batch, slots[at], batch["ts_ms"].to_numpy() // 1000)[r.FORBIDDEN].tolist()
    return found


@settings(max_examples=100, deadline=None)
@given(worlds())
def test_the_rows_marked_are_those_of_a_plain_reading(world: World) -> None:
    config = world.config.model_copy(update={"unseen": "pass"})  # an event that does not say it breaks nothing
    core = core_of(Policies(config, world.exceptions), world.entries, facts_of=world.facts.get)
    events = [
        {"key_id": call.key_id, "ts_s": call.at_ms / 1000, "model": call.model or "gpt-5", "requests": call.requests,
         "endpoint": call.endpoint or None, "ip": call.ip or None, "country": call.country or None,
         "input_tokens": call.input_tokens, "output_tokens": call.max_output_tokens or 0}
        for call in world.calls
    ]  # fmt: skip
    for call, bits in zip(world.calls, marked(core, events), strict=True):
        plain = call._replace(model=call.model or "gpt-5", max_output_tokens=(call.max_output_tokens or 0))
        facts, entry = world.facts[call.key_id], world.entries[call.key_id]
        broken = set()
        for source, name, value in policy_reference.in_force(config, call.key_id, facts, entry):
            kind = policy_reference.KINDS.get(name, name)
            if value is None or kind not in BITS:
                continue
            lifting = policy_reference.lifted(world.exceptions, source, name, call.key_id, facts, call.at_ms)
            asked = plain
            if kind == "max_output_tokens":
                value, asked = value * call.requests, plain  # noqa: PLW2901 - an answer is told for all its requests
                lifting = [one.model_copy(update={"limit": (one.limit or 0) * call.requests}) for one in lifting]
            if not policy_reference.passes(config, name, value, lifting, asked):
                broken.add(kind)
        assert {kind for kind, bit in BITS.items() if bits & bit} == broken


def told(rules: dict[str, Any], *events: dict[str, Any], **given: Any) -> list[Finding]:
    policy = PolicyConfig.model_validate({"name": "p", **rules})
    core = core_of(Policies(PoliciesConfig(policies=(policy,)), given.pop("exceptions", ())), **given)
    plain = {"key_id": "k1", "ts_s": NOW_S, "ip": "198.51.100.7", "endpoint": "/v1/chat/completions"}
    rows = [plain | {"at": at} | event for at, event in enumerate(events or ({},))]
    return [one for one in core.process(frame(rows)) + core.advance(NOW_S + 3600) if one.family == "policy"]


@pytest.mark.parametrize(
    ("rules", "detector", "reason", "evidence"),
    [
        ({"allowed_models": ("gpt-5*",)}, "allowed_models", "uses gpt-4.1-mini, which policy p does not allow", {}),
        ({"allowed_endpoints": ("/v1/embeddings",)}, "allowed_endpoints",
         "calls /v1/chat/completions, which policy p does not allow", {"endpoint": "/v1/chat/completions"}),
        ({"networks": ("10.0.0.0/8",)}, "networks",
         "is used from 198.51.100.0/24, which policy p does not allow", {"network": "198.51.100.0/24"}),
        ({"countries": ("FR",)}, "countries", "is used from DE, which policy p does not allow", {"country": "DE"}),
        ({"max_input_tokens": 200}, "max_input_tokens",
         "sends 800 input tokens in a request, policy p allows 200", {"observed": 800.0, "limit": 200.0, "ratio": 4.0}),
        ({"max_output_tokens": 100}, "max_output_tokens",
         "takes 200 output tokens in a request, policy p allows 100", {"ratio": 2.0}),
        ({"hours": {"days": ["sun"]}}, "hours",
         "is used at 2026-11-23 10:00 UTC, outside the hours of policy p, which allows sun 00:00-24:00 UTC", {}),
    ],
)  # fmt: skip
def test_a_breach_is_told_in_words_with_its_policy(
    rules: dict[str, Any], detector: str, reason: str, evidence: dict[str, Any]
) -> None:
    [finding] = told(rules)
    assert (finding.detector, finding.certain, finding.severity) == (detector, True, "warning")
    assert finding.reason == f"{reason}; this limit is certain"
    assert finding.evidence["policy"] == "p"
    assert evidence.items() <= finding.evidence.items()
    assert detector in SETTING.values()


def test_only_the_keys_with_such_a_rule_are_asked_about() -> None:
    policy = PolicyConfig(name="p", keys=("k2",), networks=("10.0.0.0/8",))
    core = core_of(Policies(PoliciesConfig(policies=(policy,))))
    core.process(frame([{"key_id": f"k{n}", "ts_s": NOW_S, "at": n, "ip": "198.51.100.7"} for n in range(4)]))
    assert [core.book.watch(core.book.slot_of[f"k{n}"]) is None for n in range(4)] == [True, True, False, True]
    assert len(core.book.watches) == 2


def test_the_networks_of_a_keys_own_entry_hold_too() -> None:
    entry = KeyRecord(
        key_id="k1", seq=0, at_ms=0, by="ann", change="made", kind="registered", state="active", provider="openai",
        networks=("10.0.0.0/8",),
    )  # fmt: skip
    [finding] = told({}, entries={"k1": entry})
    assert finding.reason.startswith("is used from 198.51.100.0/24, which the key's own entry does not allow")


@pytest.mark.parametrize(
    ("rules", "found"),
    [({"allowed_models": ("gpt-5*",)}, 0), ({"max_input_tokens": 200}, 0), ({"networks": ("10.0.0.0/8",)}, 1)],
)
def test_what_was_refused_breaks_nothing_but_tells_where_the_key_is(rules: dict[str, Any], found: int) -> None:
    assert len(told(rules, {"status": 403})) == found
    assert len(told(rules, {"status": 200})) == 1


def test_an_exception_holds_from_its_first_millisecond_to_its_last() -> None:
    begin_ms = NOW_S * 1000 + 500
    exceptions = [
        PolicyException(
            exception_id=f"exc_{rule}", at_ms=0, change="approved", state="active", rule=rule, allows=allows,
            keys=("k1",), from_ms=begin_ms, until_ms=begin_ms + 1000, reason="r", owner="ann", by="ann",
            asked_at_ms=0, approved_by="bob",
        )
        for rule, allows in (("models", ("gpt-4.1*",)), ("networks", ("198.51.100.0/24",)))
    ]  # fmt: skip
    rules = {"allowed_models": ("gpt-5*",), "networks": ("10.0.0.0/8",)}
    policy = PolicyConfig.model_validate({"name": "p", **rules})
    core = core_of(Policies(PoliciesConfig(policies=(policy,)), exceptions))
    times = (begin_ms - 1, begin_ms, begin_ms + 999, begin_ms + 1000, begin_ms)
    events = [{"key_id": "k1", "ts_s": ms / 1000, "at": at, "ip": "198.51.100.7"} for at, ms in enumerate(times)]
    both = BITS["models"] | BITS["networks"]
    assert marked(core, events) == [both, 0, 0, both, 0]


def test_new_rules_hold_from_the_next_frame_on() -> None:
    strict = Policies(PoliciesConfig(policies=(PolicyConfig(name="p", countries=("FR",)),)))
    now = [Policies(PoliciesConfig())]
    core = ScoreCore(
        QUIET, partition=0, facts_of=lambda _: KeyFacts(provider="openai"),
        watch_of=lambda key_id, facts: now[0].covering(key_id, facts, None),
    )  # fmt: skip
    assert marked(core, [{"key_id": "k1", "ts_s": NOW_S}]) == [0]
    now[0] = strict
    core.reconfigure(QUIET)
    assert marked(core, [{"key_id": "k1", "ts_s": NOW_S}]) == [BITS["countries"]]
