"""What becomes of a wish for a key: what is wrong with it, who has to be asked, and the key as it is made. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from controls.people import NOBODY, People
from controls.registry import Registry
from schemas.config.budgets import BudgetConfig
from schemas.config.keys import IssueRule, IssuingConfig
from schemas.key_ask import KeyAsk, KeyWish, Problem
from schemas.key_record import SERVED, UNMADE, KeyRecord, LifeState
from schemas.spend import BudgetStatus

DAY_MS: Final = 86_400_000
_NANO: Final = 1_000_000_000
NEED_PLACE: Final = frozenset({"openai", "aws"})
"""Kinds of providers that make a credential in a place of their own: a project, a user."""
_AS_ASKED: Final = (
    "kind", "purpose", "team", "app", "env", "scopes", "networks", "countries", "origins", "data_class", "backup",
)  # fmt: skip


class Rules(NamedTuple):
    """What a wish is judged by."""

    issuing: IssuingConfig
    people: People = NOBODY
    minting: Mapping[str, str] = {}  # providers of keyfuse.yaml that can make credentials: name -> kind


def problems(by: str, wish: KeyWish, registry: Registry, rules: Rules) -> list[Problem]:
    """All that is wrong with it, for whoever can mend it. It may be asked twice: here nobody is let off later."""
    rule = rules.issuing.rule(wish.env)
    return [*_people(by, wish, rules.people), *_terms(wish, rule), *_origin(wish, rules), *_backup(wish, registry)]


def _people(by: str, wish: KeyWish, people: People) -> Iterable[Problem]:
    named = {"by": by, "owner": owner_of(by, wish)} if people.enforced else {}
    for field, name in named.items():
        if people.named(name) is None and (field == "by" or name != by):
            yield Problem(field, f"{name} is not in people.yaml")


def _terms(wish: KeyWish, rule: IssueRule) -> Iterable[Problem]:
    if rule.expires_days is not None and (wish.expires_days or 0) > rule.expires_days:
        yield Problem("expires_days", f"at most {rule.expires_days:g} in {wish.env}; ask again when it ends")


def _origin(wish: KeyWish, rules: Rules) -> Iterable[Problem]:
    if wish.kind == "virtual":
        for field in ("provider", "place"):
            if getattr(wish, field):
                yield Problem(field, "goes with kind provider alone")
        return
    kind = rules.minting.get(wish.provider)
    if kind is None:
        able = ", ".join(sorted(rules.minting)) or "none of those in keyfuse.yaml"
        which = (
            f"{wish.provider} cannot make a credential by itself"
            if wish.provider
            else "say which provider is to make it"
        )
        yield Problem("provider", f"{which}; {able} can")
    elif kind in NEED_PLACE and not wish.place:
        what = "the project, proj_..." if kind == "openai" else "the IAM user"
        yield Problem("place", f"say where {wish.provider} is to make it: {what}")


def _backup(wish: KeyWish, registry: Registry) -> Iterable[Problem]:
    if wish.backup and registry.facts_of(wish.backup) is None:
        yield Problem("backup", f"{wish.backup} is no registered key")


def owner_of(by: str, wish: KeyWish) -> str:
    return wish.owner or by


def why_a_person(ask: KeyAsk, rule: IssueRule, registry: Registry) -> list[str]:
    """Why the environment's rule alone does not give the key; empty when it does."""
    wish = ask.wish
    if not rule.instant:
        return [f"keys in {wish.env} are approved by a person"]
    found = []
    if wish.kind == "provider" and not rule.provider_instant:
        found.append(f"a credential of {wish.provider} is held to no quota by a gate")
    for field, unit in (("quota_usd_per_day", "USD a day"), ("quota_requests_per_min", "requests a minute")):
        asked, given = getattr(wish, field), getattr(rule, field)
        if asked is not None and given is not None and asked > given:
            found.append(f"it asks for {asked:g} {unit}, {wish.env} gives {given:g}")
    if wish.data_class not in rule.data_classes:
        found.append(f"it is to be shown {wish.data_class} data")
    if rule.most_per_owner is not None:
        owner = owner_of(ask.by, wish)
        have = sum(bool(key.request_id) and _counts(key) for key in registry.owned_by(owner, wish.env))
        if have >= rule.most_per_owner:
            found.append(f"{owner} has {have} keys in {wish.env} already")
    return found


def _counts(key: KeyRecord) -> bool:
    """In use, or being made by its provider: else any number could be ordered before the first is there."""
    return key.state in SERVED or (key.state == "pending" and key.kind == "provider")


def why_no_room(
    usd_per_day: float | None, budgets: Iterable[BudgetConfig], standing: Mapping[str, BudgetStatus], now_ms: int
) -> list[str]:
    """Which of the budgets that the key would be under have no room for a day of it; of unused ones nothing is known,
    so they have.
    """
    found = []
    for budget in budgets:
        status = standing.get(budget.name)
        if status is None or now_ms >= status.period_until_ms > status.period_from_ms:
            continue  # nothing was spent in this period
        left = None if status.limit_nano_usd is None else (
            status.limit_nano_usd - status.spent_nano_usd - status.committed_nano_usd
        ) / _NANO  # fmt: skip
        if status.level == "stopped" or (left is not None and left <= 0):
            found.append(f"the budget {budget.name} is used up")
        elif left is not None and left < (usd_per_day or 0):
            found.append(
                f"the budget {budget.name} has ${left:,.2f} left, and the key could spend ${usd_per_day:,.2f} a day"
            )
    return found


def quota_of(wish: KeyWish, rule: IssueRule) -> float | None:
    return wish.quota_usd_per_day or rule.quota_usd_per_day


def key_of(ask: KeyAsk, issuing: IssuingConfig, *, state: LifeState, change: str, now_ms: int) -> KeyRecord:
    """The first version of the key that is asked for."""
    wish, rule = ask.wish, issuing.rule(ask.wish.env)
    days = wish.expires_days or rule.expires_days
    return KeyRecord(
        **{name: getattr(wish, name) for name in _AS_ASKED}, key_id=ask.key_id or f"{UNMADE}{ask.request_id}", seq=1,
        at_ms=now_ms, by=ask.by, change=change, state=state, owner=owner_of(ask.by, wish), created_ms=now_ms,
        provider=issuing.provider if wish.kind == "virtual" else wish.provider, provider_ref=wish.place or None,
        expires_ms=now_ms + round(days * DAY_MS) if days else None, rotated_ms=now_ms, revalidated_ms=now_ms,
        rotate_every_days=wish.rotate_every_days or rule.rotate_every_days, quota_usd_per_day=quota_of(wish, rule),
        quota_requests_per_min=wish.quota_requests_per_min or rule.quota_requests_per_min,
        request_id=ask.request_id, last4=ask.last4, seal_to=ask.seal_to,
    )  # fmt: skip


def lines_of(key: KeyRecord, why: str) -> dict[str, str]:
    """What an approver has to know of a key that waits."""
    quota = f"${key.quota_usd_per_day:,.2f} a day" if key.quota_usd_per_day else "no limit of its own"
    rate = f", {key.quota_requests_per_min} requests a minute" if key.quota_requests_per_min else ""
    days = (key.expires_ms - (key.created_ms or 0)) / DAY_MS if key.expires_ms else None
    made = f"a credential of {key.provider} {key.provider_ref or ''}".rstrip()
    return {
        "Who asks": key.by if key.by == key.owner else f"{key.by}, for {key.owner}",
        "For": f"{key.team}/{key.app} in {key.env}",
        "Purpose": key.purpose,
        "Key": "Keyfuse's own" if key.kind == "virtual" else made,
        "May spend": quota + rate,
        "Ends": f"{days:g} days after it is approved" if days else "never by itself",
        "Data": key.data_class,
        "Used from": ", ".join([*key.networks, *key.countries, *key.origins]) or "wherever policies allow",
        "Backup": key.backup or "none",
        "A person is asked, for": why,
    }
