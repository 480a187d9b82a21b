"""Which controls a key lacks, each with what to write where, so that they can be ranked by what they take away."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from controls.blast_radius import DAY_S, HOUR_S, MONTH_S, Cap, Cut, Exposure, Limit, Proposal
from service.blast_look import Look, Seen

_USUALLY_S: Final = 10.0  # a provider's answer to a cut, where Keyfuse does not know the provider yet
_ROOM: Final = 2.0  # times what the key spends: a limit must not stop its owner


def proposals(look: Look, seen: Seen, *, person_s: float) -> Iterator[Proposal]:
    """What could be added, each by itself."""
    entry, exposure = look.entry, look.exposure
    usual_day_usd = seen.month_usd.get(entry.key_id, 0.0) / 30
    day_usd = _rounded(max(exposure.acceptable_usd, _ROOM * usual_day_usd))
    own = f"keys: {{{entry.key_id}: "
    yield from _watched(exposure, day_usd, own)
    yield from _stopped(look, person_s)
    budget = f"a budget of {day_usd:g} USD a day with hard_stop"
    if look.gated:
        written = f"{{name: …, keys: [{entry.key_id}], period: day, usd: {day_usd:g}, hard_stop: true}}"
        yield Proposal(budget, f"budgets.yaml: {written}", _with_cap(exposure, Cap(budget, day_usd, DAY_S)))
    else:
        setting = (
            f"give its users a key of Keyfuse's own with {budget}, or put its gateway behind the gate: "
            f"keyfuse.yaml: gate: {{in_front_of: [{entry.provider}]}}"
        )
        yield Proposal(f"the gate in the way, and {budget}", setting, _with_cap(exposure, Cap(budget, day_usd, DAY_S)))
    if entry.provider_limit_usd_per_month is None and usual_day_usd:
        month_usd = _rounded(30 * _ROOM * usual_day_usd)
        setting = f"set it in {entry.provider}'s console, then provider_limit_usd_per_month: {month_usd:g} in keys.yaml"
        name = f"a limit of {month_usd:g} USD a month at the provider"
        yield Proposal(name, setting, _with_cap(exposure, Cap(name, month_usd, MONTH_S)))


def _watched(exposure: Exposure, day_usd: float, own: str) -> Iterator[Proposal]:
    """Certain limits, which find what no learning is needed for."""
    known = {limit.name: limit.usd for limit in exposure.limits}
    hour_usd = _rounded(day_usd / 4)
    for limit in (Limit("usd_per_hour", hour_usd, HOUR_S), Limit("usd_per_day", day_usd, DAY_S)):
        if known.get(limit.name, float("inf")) > limit.usd:
            kept = tuple(each for each in exposure.limits if each.name != limit.name)
            name = f"{limit.name} of {limit.usd:g} USD"
            setting = f"detectors.yaml: {own}{{{limit.name}: {limit.usd:g}}}}}"
            yield Proposal(name, setting, exposure._replace(limits=(*kept, limit)))


def _stopped(look: Look, person_s: float) -> Iterator[Proposal]:
    """A cut that waits for nobody."""
    entry, exposure, cut = look.entry, look.exposure, look.exposure.cut
    if cut is None or cut.waits_for == "provider":
        name = "a provider in keyfuse.yaml that can cut it, in mode auto"
        setting = f"keyfuse.yaml: providers: {{{entry.provider}: …}}; responses.yaml: modes: {{{entry.env}: auto}}"
        yield Proposal(name, setting, exposure._replace(cut=Cut(_USUALLY_S, "by itself")))
    elif cut.waits_for == "mode":
        setting = f"responses.yaml: modes: {{{entry.env}: auto}}"
        yield Proposal("mode auto", setting, exposure._replace(cut=Cut(cut.seconds - person_s, "by itself")))


def _with_cap(exposure: Exposure, cap: Cap) -> Exposure:
    return exposure._replace(caps=(*exposure.caps, cap))


def _rounded(usd: float) -> float:
    """To two figures: people write these numbers."""
    return float(f"{usd:.2g}")
