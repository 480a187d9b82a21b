"""What `keys.yaml` says about a key's backup, put together with what its provider can do."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Literal

from alerting.steps import cut_step
from alerting.words import clean
from containment.backup import Activation, Backup, Standing, why_not
from containment.ladder import CUTS, RUNGS
from containment.plan import BackupLook, shares_by_form
from containment.providers.base import Effect
from containment.providers.build import shares_of
from containment.providers.errors import ProviderError
from containment.switches.base import Turn
from schemas.records import CLOSED, Incident, KeyFacts, Step
from service.adapters import provider_of
from service.errors import UserError
from service.install import Install


def backup_of(install: Install, key_id: str) -> Backup | None:
    """The backup that is registered for a key; None where there is none."""
    key = install.registry.with_backup(key_id)
    if key is None:
        return None
    facts = install.facts_of(key.backup)
    places = tuple((place.at, Turn(key_id, key.backup, place.secret, place.standby)) for place in key.switch)
    return Backup(key.backup, facts, places, _stopped_by(install, key_id, key.facts(), key.backup, facts))


def users_words(install: Install, key_id: str, step: Step | None) -> str:
    """What becomes of the key's users when it is cut, for whoever orders it."""
    backup = backup_of(install, key_id)
    if backup is None:
        return "NO BACKUP, its users stop"
    stops = step in backup.stopped_by
    return f"its backup {clean(backup.key_id)} {'STOPS WITH IT' if stops else 'is switched to first'}"


def look_at_backup(
    install: Install, key_id: str, incidents: Mapping[str, Incident], *, timeout_s: float | None
) -> BackupLook | None:
    """The backup as it stands now, as far as this machine can tell; None where none is registered.

    Whether it is active is asked at its provider where its admin key can be read here; without a time it is not asked.
    """
    backup = backup_of(install, key_id)
    if backup is None:
        return None
    its = incidents.get(backup.key_id)
    standing = Standing(
        open_incident=its is not None and its.state not in CLOSED,
        cut=its is not None and cut_step(its) is not None,
        switched_away=False,
    )
    places = tuple(f"{name} ({turn.secret})" if turn.secret else name for name, turn in backup.places)
    useless = tuple(step for step in RUNGS if step in backup.stopped_by & CUTS)
    return BackupLook(
        key_id=backup.key_id, active=_active(install, backup, timeout_s), told_at=places, useless_for=useless,
        why_not=why_not(key_id, backup, standing, "notify"),
    )  # fmt: skip


def _active(install: Install, backup: Backup, timeout_s: float | None) -> Literal["yes", "no", "unknown"]:
    facts = backup.facts
    if timeout_s is None or facts is None or facts.provider not in install.acting():
        return "unknown"
    ref = facts.provider_ref or backup.key_id

    async def ask() -> Effect:
        provider = provider_of(install, facts.provider)
        try:
            async with asyncio.timeout(timeout_s):
                return await Activation(provider).in_effect("switch", ref)
        finally:
            await provider.close()

    try:
        return asyncio.run(ask()).state
    except (UserError, ProviderError, TimeoutError):  # its admin key is not on this machine, or nobody answers
        return "unknown"


def users_of(install: Install, backup: str) -> tuple[str, ...]:
    """The keys that name this one as their backup, as the folder says now."""
    return install.registry.users_of(backup)


def _stopped_by(install: Install, key_id: str, facts: KeyFacts, backup: str, its: KeyFacts | None) -> frozenset[Step]:
    """The steps on the key that stop its backup as well: those that reach a whole project, for instance."""
    config = install.acting().get(facts.provider)
    if its is None or config is None or its.provider != facts.provider:
        return frozenset()
    ref, other = facts.provider_ref or key_id, its.provider_ref or backup
    steps = install.offered()[facts.provider](ref)
    shares = shares_of(config.kind) or shares_by_form(steps)
    return frozenset(step for step in steps if shares(ref, other, step))
