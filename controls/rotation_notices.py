"""Who is told that a secret is due, or that an old one may still work; until it is seen to. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from controls.desks import IdentityState, Told
from controls.owners import Approvers, approvers_of, asked_for
from controls.questions import next_step, reminded, withdrawn
from controls.rotation import AGAIN_MS, DAY_MS, Due, due_ms, due_of
from controls.slices import slice_of
from schemas.config.keys import KeysConfig
from schemas.key_record import KeyRecord
from schemas.question import Question, Unanswered
from schemas.records import stable_id


def reminders(state: IdentityState, config: KeysConfig, now_ms: int) -> Told:
    """Whose secret is due: its owner is told, then reminded, then whoever stands above; until it is changed."""
    return Told(questions=tuple(_notices(state, config, now_ms)))


def _notices(state: IdentityState, config: KeysConfig, now_ms: int) -> Iterator[Question]:
    open_ones = {each.question_id: each for each in state.questions.values() if _is_open(each)}
    yield from _kept_up(open_ones, state, config, now_ms)
    new = []
    for entry in slice_of(state.registry.entries(), now_ms):
        fresh = _wanted(entry, state, config, now_ms)
        if fresh is None or fresh.question_id in open_ones:
            continue
        if entry.state == "retiring" or entry.rotate_by_ms is not None:  # somebody knows a secret who should not:
            yield fresh  # that waits for no room
        else:
            new.append((fresh.deadline_ms is None, fresh.deadline_ms or 0, fresh))
    if new:
        room = _room(state, config, now_ms)
        yield from (fresh for *_, fresh in sorted(new, key=lambda each: each[:2])[:room])


def _wanted(entry: KeyRecord, state: IdentityState, config: KeysConfig, now_ms: int) -> Question | None:
    """The notice of this key as it would be made now; None where there is nothing to tell."""
    at_ms = due_ms(entry)
    if at_ms is not None and now_ms >= at_ms - round(config.rotation.remind_before_days * DAY_MS):
        due = due_of(entry)
        return _notice(entry, due, state, config, now_ms) if due is not None else None
    if entry.state == "retiring" and now_ms - (entry.valid_until_ms or now_ms) >= AGAIN_MS:
        return _unproved(entry, state, config, now_ms)
    return None


def _kept_up(
    open_ones: dict[str, Question], state: IdentityState, config: KeysConfig, now_ms: int
) -> Iterator[Question]:
    """Each open notice as it is to be now: withdrawn where it is seen to, to whoever answers for the key, reminded."""
    for known in open_ones.values():
        entry = state.registry.entry(known.about)
        fresh = _wanted(entry, state, config, now_ms) if entry is not None else None
        if entry is None or fresh is None or fresh.question_id != known.question_id:
            yield withdrawn(known, _became(entry))
            continue
        newest = known
        if not set(fresh.to) <= set(known.to):  # somebody else answers for it since
            newest = known.model_copy(update={"to": tuple(dict.fromkeys((*known.to, *fresh.to)))})
            yield newest
        yield from _reminder(newest, entry, config.issuing.approvers, state, now_ms)


def _room(state: IdentityState, config: KeysConfig, now_ms: int) -> int:
    recent = sum(each.kind == "rotation" and each.asked_at_ms > now_ms - DAY_MS for each in state.questions.values())
    return max(0, config.rotation.most_per_day - recent)


def _is_open(question: Question) -> bool:
    return question.kind == "rotation" and question.state == "open"


def notice_id(entry: KeyRecord, due: Due) -> str:
    return stable_id("rot", entry.key_id, due.at_ms)


def _notice(entry: KeyRecord, due: Due, state: IdentityState, config: KeysConfig, now_ms: int) -> Question:
    escalate_ms = max(due.at_ms, now_ms) + round(config.rotation.escalate_after_days * DAY_MS)
    above = ", ".join(approvers_of(entry, config.issuing.approvers, state.people, but={entry.owner})) or "nobody else"
    steps = [Unanswered(name="escalate", at_ms=escalate_ms, words=f"{above} are told")]
    if due.at_ms > now_ms:
        steps.insert(0, Unanswered(name="overdue", at_ms=due.at_ms, words="it is overdue, and you are told again"))
    return Question(
        question_id=notice_id(entry, due), kind="rotation", about=entry.key_id, asked_at_ms=now_ms,
        to=asked_for(entry, config.issuing.approvers, state.people), team=entry.team,
        title="A key's secret must be changed", lines=_lines(entry, due), choices=(), steps=tuple(steps),
        deadline_ms=due.at_ms or None,
    )  # fmt: skip


def _unproved(entry: KeyRecord, state: IdentityState, config: KeysConfig, now_ms: int) -> Question:
    escalate_ms = now_ms + round(config.rotation.escalate_after_days * DAY_MS)
    lines = {
        "Key": entry.key_id, "Replaced by": entry.replaced_by, "Where": f"{entry.team}/{entry.app} in {entry.env}",
        "What is known": entry.change,
        "What to do": f"see to it that {entry.provider} refuses it; where Keyfuse cannot try that, say so: "
        f"keyfuse keys gone {entry.key_id} --reason HOW",
    }  # fmt: skip
    name = stable_id("ret", entry.key_id, entry.valid_until_ms)
    return Question(
        question_id=name, kind="rotation", about=entry.key_id, asked_at_ms=now_ms,
        to=asked_for(entry, config.issuing.approvers, state.people), team=entry.team,
        title="An old key is not proved to be refused", lines=lines, choices=(),
        steps=(Unanswered(name="escalate", at_ms=escalate_ms, words="the key's approvers are told"),),
    )  # fmt: skip


def _lines(entry: KeyRecord, due: Due) -> dict[str, str]:
    how = f"keyfuse keys rotate {entry.key_id}"
    if entry.kind == "registered":
        how = f"make a new key at {entry.provider}, enter it in keys.yaml, then: {how} --to NEW_KEY_ID"
    return {
        "Key": entry.key_id, "Used for": entry.purpose or "nobody wrote it down",
        "Where": f"{entry.team}/{entry.app} in {entry.env}", "Owner": entry.owner or "nobody", "Why": due.why,
        "What to do": how,
    }  # fmt: skip


def _reminder(
    question: Question, entry: KeyRecord, approvers: Approvers, state: IdentityState, now_ms: int
) -> Iterator[Question]:
    step = next_step(question, now_ms)
    if step is None:
        return
    if step.name == "escalate":
        above = approvers_of(entry, approvers, state.people, but={entry.owner})
        words = (
            f"{entry.owner or 'Nobody'} was told and it is not done: now {', '.join(above) or 'nobody else'} are told."
        )
        yield reminded(question, words, now_ms, to=above)
    else:
        yield reminded(question, f"Overdue: change the secret of {entry.key_id} now.", now_ms)


def _became(entry: KeyRecord | None) -> str:
    if entry is None:
        return "The key is not registered any more."
    if entry.state == "retired":
        return f"Seen to: {entry.change}."
    if entry.replaced_by:
        return f"Changed by {entry.by}: {entry.replaced_by} took over."
    if due_of(entry) is not None:
        return f"Another date holds now: {entry.change}."
    return f"It is not due any more: the key is {entry.state}, {entry.change}."
