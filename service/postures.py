"""Which controls hold for each registered key, read from the settings."""

from __future__ import annotations

from collections.abc import Iterator

from controls.blast_radius import radius
from controls.budgets import covers
from controls.posture import Control, Posture, of_life
from controls.rules import Rules
from schemas.key_record import KeyRecord
from service.blast_look import Look, Seen, look
from service.install import Install

_DAY_MS = 86_400_000


def postures(install: Install, seen: Seen, *, at_ms: int, team: str = "", env: str = "") -> list[Posture]:
    """Every key that is served now, of a team and an environment if named; the dearest theft first."""
    entries = [
        entry for entry in install.registry.entries().values()
        if entry.served(at_ms) and team in {"", entry.team} and env in {"", entry.env}
    ]  # fmt: skip
    found = [posture(install, entry, seen, at_ms=at_ms) for entry in entries]
    return sorted(found, key=lambda each: (-each.radius.day_usd, each.entry.key_id))


def posture(install: Install, entry: KeyRecord, seen: Seen, *, at_ms: int) -> Posture:
    """One key."""
    looked = look(install, entry, seen=seen, at_ms=at_ms, closely=False)
    every_ms = round(install.folder.keys.revalidation.every_days * _DAY_MS)
    controls = of_life(entry, at_ms=at_ms, revalidate_every_ms=every_ms) | set(_of_settings(install, looked, at_ms))
    return Posture(entry, controls, looked.exposure, radius(looked.exposure))


def _of_settings(install: Install, looked: Look, at_ms: int) -> Iterator[Control]:
    entry, exposure = looked.entry, looked.exposure
    rules = install.policies.rules_of(entry.key_id, entry.facts(), entry, at_ms)
    yield from _of_rules(rules)
    if looked.gated:
        yield "gate"
    if any(each.hard_stop and covers(each, entry.key_id, entry.facts()) for each in install.folder.budgets.budgets):
        yield "hard_budget"
    names = {limit.name for limit in exposure.limits}
    if names & {"usd_per_min", "usd_per_hour"}:
        yield "limits"
    if names & {"usd_per_day", "usd_per_month"}:
        yield "day_limit"
    if exposure.cut and exposure.cut.waits_for != "provider":
        yield "cut"
        if not exposure.cut.waits_for:
            yield "cut_by_itself"


def _of_rules(rules: Rules) -> Iterator[Control]:
    kinds: dict[Control, tuple[str, ...]] = {
        "models": ("models",), "length": ("max_input_tokens", "max_output_tokens"), "places": ("networks", "countries"),
    }  # fmt: skip
    there = {rule.kind for rule in rules.rules}
    yield from (control for control, wanted in kinds.items() if there & set(wanted))
    if rules.ceilings:
        yield "rate"
