"""The policy plane once more, as plainly as can be: nothing remembered, nothing shared. Only for tests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from ipaddress import ip_address, ip_network
from typing import Any
from zoneinfo import ZoneInfo

from schemas.call import Call
from schemas.config.policies import HoursConfig, PoliciesConfig
from schemas.exception import PolicyException
from schemas.key_record import KeyRecord
from schemas.records import KeyFacts

SEEN = {"models": "model", "endpoints": "endpoint", "networks": "ip", "countries": "country", "origins": "origin"}
KINDS = {"allowed_models": "models", "denied_models": "models", "allowed_endpoints": "endpoints",
         "quota_requests_per_min": "requests_per_min", "quota_usd_per_day": "usd_per_day"}  # fmt: skip
POLICY_RULES = [
    "allowed_models", "denied_models", "allowed_endpoints", "max_input_tokens", "max_output_tokens", "networks",
    "countries", "hours", "requests_per_s", "requests_per_min", "requests_per_day", "tokens_per_s", "tokens_per_min",
    "tokens_per_day",
]  # fmt: skip
KEY_RULES = ["networks", "countries", "origins", "quota_requests_per_min", "quota_usd_per_day"]


def in_force(
    config: PoliciesConfig, key_id: str, facts: KeyFacts, entry: KeyRecord | None
) -> Iterator[tuple[str, str, Any]]:
    """(source, name, value) of each rule, in order."""
    for policy in config.policies:
        if scoped(policy, key_id, facts):
            yield from ((f"policy {policy.name}", name, getattr(policy, name)) for name in POLICY_RULES)
    if entry is not None:
        yield from (("key", name, getattr(entry, name) or None) for name in KEY_RULES)


def first_broken(
    config: PoliciesConfig, exceptions: Iterable[PolicyException], call: Call, facts: KeyFacts, entry: KeyRecord | None
) -> str:
    """The label of the first rule that the call breaks; empty when it may be made."""
    for source, name, value in in_force(config, call.key_id, facts, entry):
        if value is None:
            continue
        lifting = lifted(exceptions, source, name, call.key_id, facts, call.at_ms)
        if not passes(config, name, value, lifting, call):
            return f"{source}: {name}"
    return ""


def lifted(
    exceptions: Iterable[PolicyException], source: str, name: str, key_id: str, facts: KeyFacts, at_ms: int
) -> list[PolicyException]:
    return [
        one for one in exceptions
        if one.state == "active" and one.from_ms <= at_ms < one.until_ms and scoped(one, key_id, facts)
        and one.rule == KINDS.get(name, name) and (not one.of or source == f"policy {one.of}")
    ]  # fmt: skip


def scoped(thing: Any, key_id: str, facts: KeyFacts) -> bool:
    if thing.keys and key_id not in thing.keys:
        return False
    wanted = ((thing.teams, facts.team), (thing.apps, facts.app), (thing.envs, facts.env))
    return all(any(fnmatchcase(value, pattern) for pattern in patterns) for patterns, value in wanted if patterns)


def passes(config: PoliciesConfig, name: str, value: Any, lifting: list[PolicyException], call: Call) -> bool:
    kind, unseen = KINDS.get(name, name), config.unseen == "pass"
    if kind in SEEN:
        text = getattr(call, SEEN[kind])
        if not text:
            return unseen
        if any(matches(config, kind, text, one.allows) for one in lifting):
            return True
        return matches(config, kind, text, value) != (name == "denied_models")
    if kind == "hours":
        return bool(lifting) or is_open(value, call.at_ms)
    if kind == "max_input_tokens":
        return bool(call.input_tokens / call.requests <= max([value, *(one.limit for one in lifting)]))
    if kind == "max_output_tokens":
        if call.max_output_tokens is None:
            return unseen
        return bool(call.max_output_tokens <= max([value, *(one.limit for one in lifting)]))
    return True  # a ceiling


def matches(config: PoliciesConfig, kind: str, text: str, patterns: Iterable[str]) -> bool:
    for pattern in patterns:
        if kind == "networks":
            if ip_address(text) in ip_network(pattern):
                return True
        elif pattern.startswith("@") and kind == "models":
            if matches(config, kind, text, config.families.get(pattern[1:], ())):
                return True
        elif fnmatchcase(text, pattern):
            return True
    return False


def is_open(hours: HoursConfig, at_ms: int) -> bool:
    """Goes back minute by minute, to whatever comes first: their end, or their beginning on a day that is one."""
    local = datetime.fromtimestamp(at_ms / 1000, ZoneInfo(hours.timezone)).replace(tzinfo=None, second=0, microsecond=0)
    end = "00:00" if hours.until == "24:00" else hours.until
    names = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
    for back in range(24 * 60):
        minute = local - timedelta(minutes=back)
        if f"{minute:%H:%M}" == hours.from_:
            return not hours.days or names[minute.weekday()] in hours.days
        if f"{minute:%H:%M}" == end:
            return False
    raise AssertionError("every minute of the day passes within a day")
