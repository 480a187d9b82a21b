"""Who is told of an incident. Pure; a decision is a value with its reason."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from alerting.loss import rank
from schemas.config.routes import RouteConfig, RoutesConfig
from schemas.records import Incident


class Delivery(NamedTuple):
    """One channel to tell, and why."""

    channel: str
    reason: str


def route(incident: Incident, config: RoutesConfig, *, told: Collection[str] = ()) -> tuple[Delivery, ...]:
    """The channels for one version of an incident, each once.

    The first matching route wins, unless it says `continue`. An incident that no route takes, or whose routes name no
    channel that exists, goes to all channels: better a wrong person than nobody.

    Args:
        incident: The version to tell.
        config: `routes.yaml`.
        told: Channels that already show this incident. They get each later version too, also when a higher severity
            has moved it to another route: a message that still says `open` for ever would be a lie.
    """
    chosen: dict[str, str] = {}
    for number, one in enumerate(config.routes, start=1):
        if not _matches(one, incident):
            continue
        for channel in one.channels:
            if channel in config.channels:
                chosen.setdefault(channel, f"route {number}")
        if not one.continue_:
            break
    if not chosen:
        chosen = dict.fromkeys(config.channels, "no route takes this incident, so every channel is told")
    for channel in told:
        if channel in config.channels:
            chosen.setdefault(channel, "was told before, so it is kept up to date")
    return tuple(Delivery(channel, reason) for channel, reason in chosen.items())


def _matches(one: RouteConfig, incident: Incident) -> bool:
    facts = incident.facts
    return (
        (not one.teams or facts.team in one.teams)
        and (not one.envs or facts.env in one.envs)
        and rank(incident.severity) >= rank(one.min_severity)
    )
