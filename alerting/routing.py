"""Who is told of an incident, and when. Pure; a decision is a value with its reason."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from alerting.loss import rank
from alerting.quiet import quiet_until_ms
from schemas.config.routes import RouteConfig, RoutesConfig
from schemas.records import CLOSED, Incident


class Delivery(NamedTuple):
    """One channel to tell, and why."""

    channel: str
    reason: str


class Plan(NamedTuple):
    """What one version of an incident asks for at one time."""

    now: tuple[Delivery, ...]
    again_ms: int | None  # when time alone will change the answer; None: never


_CALM: Final = CLOSED | {"acknowledged"}  # news that ask nobody to get up


def plan(
    incident: Incident, config: RoutesConfig, *, now_ms: int, told: Collection[str] = (),
    besides: Mapping[str, Collection[str]] = MappingProxyType({}),
) -> Plan:  # fmt: skip
    """The channels for one version of an incident now, each once, and when to ask again.

    The first matching route wins, unless it says `continue`. An incident that no route takes, or whose routes name no
    channel that exists, goes to all channels: better a wrong person than nobody. What a route's quiet hours hold back
    is told at their end, and what escalates counts from there. All of it depends on the incident's own times, so that
    it says the same after a restart.

    Args:
        incident: The newest version.
        config: `routes.yaml`.
        now_ms: Wall clock.
        told: Channels that already show this incident. They get each later version too, also when a higher severity
            has moved it to another route: a message that still says `open` for ever would be a lie.
        besides: By budget: whom else to tell of what is more than information about it.
    """
    chosen: dict[str, str] = {}
    held: set[str] = set()
    again: list[int] = []
    for number, one in _taking(incident, config):
        quiet_ms = quiet_until_ms(one.quiet_hours, now_ms) if incident.severity != "critical" else None
        if quiet_ms is not None:
            held.update(channel for channel in one.channels if channel in config.channels)
            again.append(quiet_ms)
            continue
        chosen |= {each: f"route {number}" for each in one.channels if each in config.channels and each not in chosen}
        for due_ms, channel, reason in _escalation(incident, one):
            if due_ms > now_ms:
                again.append(due_ms)
            elif channel in config.channels:
                chosen.setdefault(channel, reason)
    chosen |= {each: "the budget names it" for each in _besides(incident, besides, config) if each not in chosen}
    if not chosen and not held:
        chosen = dict.fromkeys(config.channels, "no route takes this incident, so every channel is told")
    for channel in told:
        if channel in config.channels and (channel not in held or incident.state in _CALM):
            chosen.setdefault(channel, "was told before, so it is kept up to date")
    return Plan(tuple(Delivery(*each) for each in chosen.items()), min(again, default=None))


def _besides(incident: Incident, besides: Mapping[str, Collection[str]], config: RoutesConfig) -> Iterator[str]:
    """Whom the budget itself names, of what is more than information."""
    if incident.budget is not None and incident.severity != "info":
        yield from (channel for channel in besides.get(incident.budget.budget, ()) if channel in config.channels)


def _escalation(incident: Incident, one: RouteConfig) -> Iterator[tuple[int, str, str]]:
    """When which channel is told besides, while nobody acknowledges."""
    if incident.state != "open":
        return
    since_ms = incident.asked_since_ms or incident.opened_at_ms
    quiet_ms = quiet_until_ms(one.quiet_hours, since_ms) if incident.severity != "critical" else None
    for step in one.escalate:
        due_ms = (quiet_ms or since_ms) + round(step.after_min * 60_000)
        for channel in step.to:
            yield due_ms, channel, f"nobody has acknowledged it for {step.after_min:g} min"


def _taking(incident: Incident, config: RoutesConfig) -> Iterator[tuple[int, RouteConfig]]:
    """The routes that take the incident, with their numbers."""
    for number, one in enumerate(config.routes, start=1):
        if _matches(one, incident):
            yield number, one
            if not one.continue_:
                return


def _matches(one: RouteConfig, incident: Incident) -> bool:
    facts = incident.facts
    return (
        (not one.teams or facts.team in one.teams)
        and (not one.envs or facts.env in one.envs)
        and rank(incident.severity) >= rank(one.min_severity)
    )
