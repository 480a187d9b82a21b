"""The limits that protect us from ourselves: caps, freeze, cool-down. Pure: the ledger goes in and comes out.

Times are wall-clock milliseconds: what counts is how fast the real world is changed, not how fast events are replayed.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from pydantic import Field

from containment.ladder import KEYFUSE
from schemas.config.responses import CapsConfig, ResponsesConfig
from schemas.records import Command, Record

TEN_MIN_MS: Final = 600_000
DAY_MS: Final = 86_400_000


class Ran(Record):
    """One automatic command that was let through."""

    command_id: str
    key_id: str
    at_ms: int
    stranger: bool = False


class Frozen(Record):
    """Why and since when nothing runs by itself."""

    reason: str
    by: str
    since_ms: int


class Ledger(Record):
    """All that the limits remember. Stored with each verdict, so that a restart forgets nothing."""

    ran: tuple[Ran, ...] = ()
    """Automatic commands of the last day."""
    flagged: dict[str, int] = Field(default_factory=dict)
    """key_id -> when Keyfuse last wanted to act on it, for ten minutes."""
    cooling: dict[str, int] = Field(default_factory=dict)
    """key_id -> until when it is left alone."""
    frozen: Frozen | None = None


class Census(NamedTuple):
    """What the caps are shares of. Only registered keys are counted where there are any."""

    known_keys: int
    active_keys: int
    stranger: bool
    """The key of the command is not among those counted."""


class Verdict(NamedTuple):
    """What the limits say. `page` is for the people on call and is given once per freeze."""

    ledger: Ledger
    allowed: bool
    rule: str
    reason: str
    page: str | None = None


def judge(
    ledger: Ledger,
    command: Command,
    *,
    now_ms: int,
    known_keys: int,
    active_keys: int,
    frozen_file: bool,
    config: ResponsesConfig,
    stranger: bool = False,
) -> Verdict:
    """May this command run?

    A stranger is a key that nobody registered while others are. It has caps of its own, plain numbers, and counts for
    no freeze: events of made-up keys then neither use up the caps of real ones nor freeze them out.

    What a person ordered or approved is neither capped nor frozen, and a restore always runs. The same automatic
    command asked about again (a replay) takes no second place.
    """
    if not command.key_id.strip():
        return Verdict(ledger, False, "no_key", "the command names no key; nothing is never read as everything")
    if command.step == "restore":
        return Verdict(ledger, True, "restore", "undoing is always allowed")
    if not command.automatic and (command.by != KEYFUSE or command.approvals):
        people = ", ".join(dict.fromkeys((command.by, *command.approvals)))
        return Verdict(ledger, True, "person", f"ordered or approved by {people}")
    seen = _forget(ledger, now_ms)
    if not stranger:
        seen = _flag(seen, command.key_id, now_ms)
    tripped = None if seen.frozen else _trip(seen, active_keys=active_keys, caps=config.caps)
    if tripped:
        seen = freeze(seen, tripped, by=KEYFUSE, now_ms=now_ms)
    if not command.automatic or command.mode == "observe":
        return Verdict(seen, True, "not_run", "nothing changes until a person decides", tripped)
    rule, reason = _refusal(seen, command, frozen_file=frozen_file, config=config)
    if not rule:
        counted = None if stranger else known_keys
        rule, reason = _over_cap(seen, command, now_ms=now_ms, known_keys=counted, caps=config.caps)
    if rule:
        return Verdict(seen, False, rule, reason, tripped)
    return Verdict(_count(seen, command, now_ms, stranger=stranger), True, "within_limits", "within the limits")


def freeze(ledger: Ledger, reason: str, *, by: str, now_ms: int) -> Ledger:
    """Stop everything automatic. The first reason stays: it is what has to be looked into."""
    return ledger if ledger.frozen else _but(ledger, frozen=Frozen(reason=reason, by=by, since_ms=now_ms))


def unfreeze(ledger: Ledger) -> Ledger:
    """A person has looked. The flagged keys are forgotten, else the next command would freeze again at once."""
    return _but(ledger, frozen=None, flagged={})


def failed(ledger: Ledger, key_id: str, *, now_ms: int, config: ResponsesConfig) -> Ledger:
    """After a step failed for good: leave the key alone until the cool-down is over."""
    until_ms = now_ms + round(config.caps.cooldown_s * 1000)
    return _but(ledger, cooling={**ledger.cooling, key_id: until_ms})


def per_10min_cap(caps: CapsConfig, known_keys: int) -> int:
    """Keys in ten minutes. The plain number is a floor: with few keys a share alone would forbid the first cut."""
    return max(caps.per_10min_keys, int(caps.per_10min_share * known_keys))


def per_day_cap(caps: CapsConfig, known_keys: int) -> int:
    """Keys in a day; never less than in ten minutes."""
    return max(caps.per_10min_keys, int(caps.per_day_share * known_keys))


def _but(ledger: Ledger, **changes: object) -> Ledger:
    return ledger.model_copy(update=changes)


def _forget(ledger: Ledger, now_ms: int) -> Ledger:
    return _but(
        ledger,
        ran=tuple(ran for ran in ledger.ran if ran.at_ms > now_ms - DAY_MS),
        flagged={key: at_ms for key, at_ms in ledger.flagged.items() if at_ms > now_ms - TEN_MIN_MS},
        cooling={key: until_ms for key, until_ms in ledger.cooling.items() if until_ms > now_ms},
    )


def _flag(ledger: Ledger, key_id: str, now_ms: int) -> Ledger:
    return _but(ledger, flagged={**ledger.flagged, key_id: now_ms})


def _trip(ledger: Ledger, *, active_keys: int, caps: CapsConfig) -> str | None:
    flagged = len(ledger.flagged)
    if flagged < caps.freeze_min_keys or flagged <= caps.freeze_share * active_keys:
        return None
    return (
        f"Frozen: {flagged} of {active_keys} active keys were flagged within ten minutes, more than "
        f"{caps.freeze_share:.0%}. Either a detector is wrong, or events are forged, or many keys leaked at once. "
        "Nothing more runs by itself; look at the open incidents, contain by hand, then unfreeze."
    )


def _refusal(ledger: Ledger, command: Command, *, frozen_file: bool, config: ResponsesConfig) -> tuple[str, str]:
    """The rule that forbids it whatever the counts say, and why; both empty when none does."""
    if frozen_file:
        return "freeze_file", f"the freeze file {config.freeze_file} exists"
    if ledger.frozen:
        return "freeze", ledger.frozen.reason
    if command.facts.protected or command.key_id in config.protected_keys:
        return "protected", "the key is protected: only a person may act on it"
    if command.key_id in ledger.cooling:
        return "cooldown", f"a step on this key failed less than {config.caps.cooldown_s:g} s ago"
    return "", ""


def _over_cap(
    ledger: Ledger, command: Command, *, now_ms: int, known_keys: int | None, caps: CapsConfig
) -> tuple[str, str]:
    """As `_refusal`. `known_keys` None: a stranger, who is counted among strangers."""
    stranger = known_keys is None
    ran = [one for one in ledger.ran if one.stranger == stranger]
    # A clock that was set back leaves times in the future; counting those too errs on the safe side.
    recent = {one.key_id for one in ran if one.at_ms > now_ms - TEN_MIN_MS}
    day = {one.key_id for one in ran}
    cap, day_cap = per_10min_cap(caps, known_keys or 0), per_day_cap(caps, known_keys or 0)
    keys = "keys that are not in keys.yaml" if stranger else "keys"
    if command.key_id not in recent and len(recent) >= cap:
        return "per_10min", f"{len(recent)} {keys} were touched within ten minutes; the limit is {cap}"
    if command.key_id not in day and len(day) >= day_cap:
        return "per_day", f"{len(day)} {keys} were touched within a day; the limit is {day_cap}"
    return "", ""


def _count(ledger: Ledger, command: Command, now_ms: int, *, stranger: bool) -> Ledger:
    """A replay moves its own entry: its effect may come only now, so its ten minutes start now."""
    others = tuple(ran for ran in ledger.ran if ran.command_id != command.command_id)
    ran = Ran(command_id=command.command_id, key_id=command.key_id, at_ms=now_ms, stranger=stranger)
    return _but(ledger, ran=(*others, ran))
