"""Follow-ups of incidents: who may say what of them, and what becomes of it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from controls.desks import NOTHING, IdentityState, Told
from controls.people import People
from schemas.follow_up import FollowUp, FollowUpWord
from schemas.question import QuestionKind
from schemas.records import AuditRow, Record, stable_id

_DEED: Final = "resolve"  # the role that may end an incident may say what is to follow from it


class FollowUpDesk:
    """Judges what people say of follow-ups."""

    takes: Mapping[str, type[Record]] = {"follow_up_word": FollowUpWord}
    kinds: frozenset[QuestionKind] = frozenset()

    def take(self, message: Record, state: IdentityState, now_ms: int) -> Told:
        assert isinstance(message, FollowUpWord)  # noqa: S101 - the one type it takes
        known = state.follow_ups.get(message.follow_up_id)
        stop = why_not(message, known, state.people)
        if stop:
            return Told(audit=(_row(message, known, "refused", stop, now_ms),))
        made = after(message, known, now_ms)
        if made is None:
            return NOTHING
        return Told(follow_ups=(made,), audit=(_row(message, made, "taken", made.words, now_ms),))

    def due(self, state: IdentityState, now_ms: int) -> Told:
        """Overdue ones stand in the governance report; nobody is woken for them."""
        return NOTHING


def why_not(word: FollowUpWord, known: FollowUp | None, people: People) -> str:
    """Why a word does not count; empty when it does."""
    stop = people.why_not(word.by, _DEED)
    if stop:
        return stop
    if word.action == "add":
        missing = [name for name in ("incident_id", "words", "owner") if not getattr(word, name)]
        return f"it names no {' and no '.join(missing)}" if missing else ""
    if known is None:
        return f"no follow-up {word.follow_up_id} is known"
    if known.state != "open":
        return f"it is {known.state} already, by {known.by}"
    needed: dict[str, tuple[str, str]] = {
        "assign": ("owner", "it names no owner"), "done": ("words", "say how one knows that it was done"),
        "drop": ("words", "say why it is not needed"),
    }  # fmt: skip
    name, words = needed[word.action]
    return "" if getattr(word, name) else words


def after(word: FollowUpWord, known: FollowUp | None, now_ms: int) -> FollowUp | None:
    """The version after a word that counts; None when it was said before."""
    if known is None:
        return FollowUp(
            follow_up_id=word.follow_up_id, seq=1, at_ms=now_ms, state="open", incident_id=word.incident_id,
            key_id=word.key_id, words=word.words, owner=word.owner, due_ms=word.due_ms, asked_by=word.by,
            asked_at_ms=word.at_ms, by=word.by,
        )  # fmt: skip
    if word.action == "add":
        return None
    changes: dict[str, object] = {"seq": known.seq + 1, "at_ms": now_ms, "by": word.by}
    if word.action == "assign":
        changes |= {"owner": word.owner, "due_ms": known.due_ms if word.due_ms is None else word.due_ms}
    else:
        ended: Literal["done", "dropped"] = "done" if word.action == "done" else "dropped"
        changes |= {"state": ended, "evidence": word.words}
    return known.model_copy(update=changes)


def _row(word: FollowUpWord, known: FollowUp | None, result: str, words: str, now_ms: int) -> AuditRow:
    incident_id, key_id = (known.incident_id, known.key_id) if known else (word.incident_id, word.key_id)
    return AuditRow(
        audit_id=stable_id("aud", "follow_up", word.follow_up_id, word.action, word.by, word.at_ms), at_ms=now_ms,
        actor=word.by, action=f"follow_up.{word.action}", key_id=key_id, incident_id=incident_id, command_id="",
        result=result, detail={"follow_up": word.follow_up_id, "words": words, "owner": word.owner},
    )  # fmt: skip
