"""What `keys.yaml` says about a key's backup, put together with what its provider can do."""

from __future__ import annotations

from containment.backup import Backup
from containment.plan import shares_by_form
from containment.providers.build import shares_of
from containment.switches.base import Turn
from schemas.records import KeyFacts, Step
from service.install import Install


def backup_of(install: Install, key_id: str) -> Backup | None:
    """The backup that is registered for a key; None where there is none."""
    key = install.registry.with_backup(key_id)
    if key is None:
        return None
    facts = install.facts_of(key.backup)
    places = tuple((place.at, Turn(key_id, key.backup, place.secret, place.standby)) for place in key.switch)
    return Backup(key.backup, facts, places, _stopped_by(install, key_id, key.facts(), key.backup, facts))


def users_of(install: Install, backup: str) -> tuple[str, ...]:
    """The keys that name this one as their backup, as the folder says now."""
    return install.registry.users_of(backup)


def _stopped_by(install: Install, key_id: str, facts: KeyFacts, backup: str, its: KeyFacts | None) -> frozenset[Step]:
    """The steps on the key that stop its backup as well: those that reach a whole project, for instance."""
    config = install.folder.wiring.providers.get(facts.provider)
    if its is None or config is None or its.provider != facts.provider:
        return frozenset()
    ref, other = facts.provider_ref or key_id, its.provider_ref or backup
    steps = install.offered()[facts.provider](ref)
    shares = shares_of(config.kind) or shares_by_form(steps)
    return frozenset(step for step in steps if shares(ref, other, step))
