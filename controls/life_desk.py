"""The desk for a key's life: new secrets, other owners, people who leave, and whether it is still needed. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from controls.desks import NOTHING, IdentityState, Told
from controls.owners import approvers_of, is_known, may_act
from controls.people import RANKS
from controls.questions import shown
from controls.revalidation import ModeOf, campaign, kept, on_answer, why_not_kept
from controls.rotation import (
    DAY_MS,
    HOUR_MS,
    LIVE,
    by_hand,
    heard,
    retirements,
    rotate,
    successions,
    why_no_rotation,
    why_not_by_hand,
)
from controls.rotation_notices import reminders
from schemas.config.keys import KeysConfig
from schemas.key_record import KeyRecord
from schemas.life import LifeAsk, PersonLeft, RefusedByHand, RevalidateKey, RotateKey, TransferKey
from schemas.question import Answer, QuestionKind, QuestionShown
from schemas.records import AuditRow, Outcome, Record, stable_id

_OWNED: Final = frozenset({"pending", "disabled", "retiring"}) | LIVE
_TAKES: Final[Mapping[str, type[Record]]] = MappingProxyType({
    "rotate_key": RotateKey, "transfer_key": TransferKey, "person_left": PersonLeft, "revalidate_key": RevalidateKey,
    "refused_by_hand": RefusedByHand, "outcome": Outcome, "question_shown": QuestionShown,
})  # fmt: skip


class LifeDesk:
    """Under one configuration; `mode_of` says whether silence may touch a key."""

    takes = _TAKES
    kinds: frozenset[QuestionKind] = frozenset({"revalidation", "rotation"})

    def __init__(self, config: KeysConfig, mode_of: ModeOf) -> None:
        self._config = config
        self._mode_of = mode_of

    def take(self, message: Record, state: IdentityState, now_ms: int) -> Told:
        match message:
            case QuestionShown():
                question = state.questions.get(message.question_id)
                new = question is not None and question.state == "open" and question.shown_at_ms is None
                return Told(questions=(shown(question, message.at_ms),)) if question and new else NOTHING
            case Outcome():
                return heard(message, state, now_ms)
            case Answer():
                question = state.questions[message.question_id]
                return on_answer(question, message, state, self._config, now_ms)
            case LifeAsk():
                known = state.registry.asked_for(message.request_id) is not None
                return NOTHING if known else self._asked(message, state, now_ms)
        return NOTHING

    def due(self, state: IdentityState, now_ms: int) -> Told:
        replaced = successions(state, self._config, now_ms)
        if replaced:
            return replaced  # the rest in a few seconds, by the keys as they are then: each has one next version
        return Told.all_of((
            retirements(state, now_ms),
            reminders(state, self._config, now_ms), campaign(state, self._config, self._mode_of, now_ms),
        ))  # fmt: skip

    def _asked(self, ask: LifeAsk, state: IdentityState, now_ms: int) -> Told:
        match ask:
            case RotateKey():
                why = why_no_rotation(ask, state)
                told = NOTHING if why else rotate(ask, state, self._config, now_ms)
            case TransferKey():
                why = why_no_transfer(ask, state)
                told = NOTHING if why else self._transferred(ask, state, now_ms)
            case RevalidateKey():
                entry = state.registry.entry(ask.key_id)
                why = why_not_kept(entry, ask.key_id) or (may_act(ask.by, entry, state.people) if entry else "")
                told = NOTHING if why or entry is None else kept(entry, ask.by, ask.reason, now_ms)
            case RefusedByHand():
                why = why_not_by_hand(ask, state)
                told = NOTHING if why else by_hand(ask, state, now_ms)
            case PersonLeft():
                why = why_not_left(ask, state)
                told = NOTHING if why else self._left(ask, state, now_ms)
            case _:
                return NOTHING
        return Told.all_of([told, Told(audit=(_row(ask, why, told),))])

    def _transferred(self, ask: TransferKey, state: IdentityState, now_ms: int) -> Told:
        entry = state.registry.entry(ask.key_id)
        assert entry is not None  # noqa: S101 - why_no_transfer looked
        until_ms = now_ms + round(self._config.rotation.after_transfer_days * DAY_MS)
        because = f": {ask.reason}" if ask.reason else ""
        change = f"{ask.to} answers for it instead of {entry.owner or 'nobody'}{because}"
        rotate_by_ms = _sooner(entry, until_ms) if entry.owner else entry.rotate_by_ms
        return Told(keys=(entry.next(at_ms=now_ms, by=ask.by, change=change, owner=ask.to, rotate_by_ms=rotate_by_ms),))

    def _left(self, ask: PersonLeft, state: IdentityState, now_ms: int) -> Told:
        until_ms = now_ms + round(self._config.rotation.after_leaving_h * HOUR_MS)
        owned = [each for each in state.registry.entries().values() if _owns(ask.person, each)]
        return Told(keys=tuple(self._inherited(ask, each, state, now_ms, until_ms) for each in owned))

    def _inherited(
        self, ask: PersonLeft, entry: KeyRecord, state: IdentityState, now_ms: int, until_ms: int
    ) -> KeyRecord:
        """Another answers for it at once, so that there is somebody to ask; and its secret is due."""
        others = approvers_of(entry, self._config.issuing.approvers, state.people, but={ask.person})
        heir = ask.to or next(iter(others), "")
        after = f"{heir} answers for it" if heir else "NOBODY is there to answer for it"
        change = f"its owner {ask.person} has left: {after}"
        if entry.state == "pending":  # who asked, and what it waits for, goes on standing in its newest version
            return entry.next(at_ms=now_ms, by=entry.by, change=entry.change, owner=heir or entry.owner)
        return entry.next(
            at_ms=now_ms, by=ask.by, change=change, owner=heir or entry.owner,
            rotate_by_ms=_sooner(entry, until_ms) if entry.state in LIVE else entry.rotate_by_ms,
        )  # fmt: skip


def why_no_transfer(ask: TransferKey, state: IdentityState) -> str:
    """Why somebody else may not answer for the key; empty when they may."""
    entry = state.registry.entry(ask.key_id)
    if entry is None:
        return f"no key {ask.key_id} is registered"
    if entry.state == "pending":
        return "it is not issued yet: refuse it, and ask for another"
    if entry.state not in _OWNED or entry.state == "retiring":
        instead = f"{entry.replaced_by} takes over from it: transfer that one"
        return instead if entry.state == "retiring" else f"it is {entry.state}: nobody needs to answer for it any more"
    if not is_known(ask.to, state.people):
        return f"{ask.to or 'nobody'} is not in people.yaml"
    if ask.to == entry.owner:
        return f"{ask.to} answers for it already"
    return may_act(ask.by, entry, state.people)


def why_not_left(ask: PersonLeft, state: IdentityState) -> str:
    """Why this is not believed; empty when it is. A signed call of the HR system needs nobody's role."""
    if not ask.person:
        return "it does not say who has left"
    if ask.to and (ask.to == ask.person or not is_known(ask.to, state.people)):
        return f"{ask.to} cannot take the keys over: they are not in people.yaml, or leave themselves"
    if ask.via == "api" or not state.people.enforced:
        return ""
    person = state.people.named(ask.by)
    if person is None:
        return f"{ask.by} is not in people.yaml"
    return (
        "" if RANKS.index(person.role) >= RANKS.index("approver") else f"{ask.by} is {person.role}; it needs approver"
    )


def _owns(person: str, entry: KeyRecord) -> bool:
    return entry.owner.lower() == person.lower() and entry.state in _OWNED


def _sooner(entry: KeyRecord, until_ms: int) -> int:
    return until_ms if entry.rotate_by_ms is None else min(entry.rotate_by_ms, until_ms)


def _row(ask: LifeAsk, why: str, told: Told) -> AuditRow:
    """What was asked, also where it did not count."""
    fields = ask.model_dump(mode="json", exclude={"type", "by", "at_ms"})
    kind, result = str(getattr(ask, "type", "")), "refused" if why else "taken" if told else "no_effect"
    return AuditRow(
        audit_id=stable_id("aud", kind, ask.request_id, result), at_ms=ask.at_ms, actor=ask.by, action=kind,
        key_id=str(getattr(ask, "key_id", "")), incident_id="", command_id="",
        result=result,
        detail=fields | {"why": why, "keys": [record.key_id for record in told.keys]},
    )  # fmt: skip
