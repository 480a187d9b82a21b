"""What bears on one key, read from the settings: the exposure that `controls/blast_radius.py` reckons with."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from containment.ladder import CUTS
from containment.plan import hit_by, shares_by_form
from containment.providers.base import StepSpec, reversibility
from containment.providers.build import shares_of
from controls.blast_radius import DAY_S, HOUR_S, MIN_S, MONTH_S, Cap, Cut, Exposure, Limit
from controls.budgets import covers
from controls.rules import Ceiling, Rules
from detectors.limits import caps_of
from schemas.key_record import KeyRecord
from schemas.records import Step
from service.install import Install
from sources.price_list import Price, dearest

_LIMITS: Final = (("usd_per_min", MIN_S), ("usd_per_hour", HOUR_S))
_BUDGETS: Final = (("usd_per_day", DAY_S), ("usd_per_month", MONTH_S))
_WINDOW_S: Final = {
    "hour": HOUR_S, "day": DAY_S, "week": 7 * DAY_S, "month": MONTH_S, "rolling_1h": HOUR_S, "rolling_24h": DAY_S,
    "rolling_7d": 7 * DAY_S, "rolling_30d": MONTH_S,
}  # fmt: skip
_SOFTLY: Final[tuple[Step, ...]] = ("disable", "block", "throttle")


class Look(NamedTuple):
    """One key as the settings have it."""

    entry: KeyRecord
    exposure: Exposure
    gated: bool  # whoever uses the key has to pass the gate
    breaks: str  # what a cut of it stops, in words
    also_hits: tuple[str, ...]  # other keys of the registry that stop with it; only looked up for one key
    backup: str
    dearest: Price | None  # the dearest model it may use


class Seen(NamedTuple):
    """What the store knows; without a store the settings' own figures stand."""

    cut_s: Mapping[str, float] = MappingProxyType({})  # provider → seconds until nine in ten cuts were in effect
    month_usd: Mapping[str, float] = MappingProxyType({})  # key_id → spent in the last 30 days


def look(install: Install, entry: KeyRecord, *, seen: Seen, at_ms: int, closely: bool) -> Look:
    """What bears on one key; `closely` with the other keys that a cut of it stops."""
    facts, folder = entry.facts(), install.folder
    gated = entry.kind == "virtual" or entry.provider in folder.wiring.gate.in_front_of
    rules = install.policies.rules_of(entry.key_id, facts, entry, at_ms)
    most = dearest(entry.provider, lambda name: rules.refuses("models", name) is None, lambda each: each.usd_per_token)
    caps = [*_provider_caps(entry), *(_gate_caps(install, entry, rules, most, at_ms) if gated else ())]
    step, spec = _first_cut(install, entry)
    expires_s = None if entry.expires_ms is None else max(0.0, (entry.expires_ms - at_ms) / 1000)
    exposure = Exposure(
        entry.key_id, entry.env, folder.budgets.acceptable(entry.env), folder.budgets.worst_usd_per_min,
        "worst_usd_per_min in budgets.yaml", tuple(caps), tuple(_limits(install, entry)),
        _cut(install, entry, step, spec, seen), expires_s,
    )  # fmt: skip
    breaks = spec.breaks if spec else f"Not known: {_no_step(install, entry)}."
    hits = _hits(install, entry).get(step, ()) if step and closely else ()
    return Look(entry, exposure, gated, breaks, hits, entry.backup, most)


def _provider_caps(entry: KeyRecord) -> list[Cap]:
    usd = entry.provider_limit_usd_per_month
    return [] if usd is None else [Cap("the provider's own limit", usd, MONTH_S)]


def _gate_caps(install: Install, entry: KeyRecord, rules: Rules, most: Price | None, at_ms: int) -> list[Cap]:
    facts = entry.facts()
    caps = [
        Cap(f"budget {budget.name}", budget.usd, _WINDOW_S[budget.period])
        for budget in install.folder.budgets.budgets
        if budget.hard_stop and budget.usd is not None and covers(budget, entry.key_id, facts)
    ]
    if most is None:  # every model of the table is refused
        return [*caps, Cap("no model is allowed", 0.0, DAY_S)]
    for ceiling in install.policies.ceilings(entry.key_id, facts, entry, at_ms):
        usd = _ceiling_usd(ceiling, rules, most)
        if math.isfinite(usd):
            caps.append(Cap(ceiling.rule, usd, ceiling.window_s))
    return caps


def _ceiling_usd(ceiling: Ceiling, rules: Rules, most: Price) -> float:
    """What the ceiling lets through of the dearest model."""
    if ceiling.unit == "nano_usd":
        return ceiling.limit / 1e9
    if ceiling.unit == "tokens":
        return ceiling.limit * most.usd_per_token
    lengths = [min((rule.limit for rule in rules.of_kind(kind)), default=None)
               for kind in ("max_input_tokens", "max_output_tokens")]  # fmt: skip
    return ceiling.limit * most.request_usd(*lengths)


def _limits(install: Install, entry: KeyRecord) -> list[Limit]:
    detectors = install.folder.detectors
    values = caps_of(detectors, env=entry.env, key_id=entry.key_id, formerly=entry.formerly)
    named = list(zip(_LIMITS, values[:2], strict=True)) if detectors.limits.enabled else []
    named += zip(_BUDGETS, values[3:], strict=True) if detectors.budget.enabled else []
    return [Limit(name, usd, window_s) for (name, window_s), usd in named if math.isfinite(usd)]


def _first_cut(install: Install, entry: KeyRecord) -> tuple[Step | None, StepSpec | None]:
    """The step that stops this key alone and can be undone: what would be done first."""
    steps_of = install.offered().get(entry.provider)
    steps = steps_of(entry.provider_ref or entry.key_id) if steps_of else {}
    free = {step for step, undo in reversibility(steps).items() if undo and step in CUTS}
    found = next((step for step in _SOFTLY if step in free), next((step for step in steps if step in CUTS), None))
    return found, steps[found] if found else None


def _cut(install: Install, entry: KeyRecord, step: Step | None, spec: StepSpec | None, seen: Seen) -> Cut:
    """A person is always there in the end: it is a question of when."""
    responses = install.responses
    person_s = responses.ladder.person_answers_min * MIN_S
    person = f"a person within {responses.ladder.person_answers_min:g} min (ladder.person_answers_min)"
    if step is None or spec is None:
        return Cut(person_s, f"{person}, at the provider by hand: {_no_step(install, entry)}", "provider")
    seconds = seen.cut_s.get(entry.provider, spec.typical_s)
    takes = f"{step} takes {seconds:.0f} s ({'measured here' if entry.provider in seen.cut_s else 'as its page says'})"
    mode = responses.mode_of(entry.key_id, entry.env)
    if entry.protected or entry.key_id in responses.protected_keys:
        return Cut(person_s + seconds, f"the key is protected: {person}, then {takes}", "protected")
    if not spec.reversible or spec.scope != "key":
        why = f"stops the whole {spec.scope}" if spec.scope != "key" else "cannot be undone"
        return Cut(person_s + seconds, f"{step} {why}, so it is a person's: {person}, then {takes}", "step")
    if mode != "auto":
        return Cut(person_s + seconds, f"mode {mode}: {person}, then {takes}", "mode")
    return Cut(seconds, f"by itself; {takes}")


def _no_step(install: Install, entry: KeyRecord) -> str:
    if entry.provider not in install.acting():
        return f"keyfuse.yaml names no provider {entry.provider}"
    return f"{entry.provider_ref or entry.key_id} is not how {entry.provider} names a key (provider_ref in keys.yaml)"


def _hits(install: Install, entry: KeyRecord) -> dict[Step, tuple[str, ...]]:
    provider = install.acting().get(entry.provider)
    steps_of = install.offered().get(entry.provider)
    if provider is None or steps_of is None:
        return {}
    ref = entry.provider_ref or entry.key_id
    steps = steps_of(ref)
    every = install.registry.all_facts().items()
    same = [(other, its.provider_ref or other) for other, its in every if its.provider == entry.provider]
    return hit_by(entry.key_id, ref, same, steps=steps, shares=shares_of(provider.kind) or shares_by_form(steps))
