"""Revalidation campaigns: is the key still needed? Asked, reminded, escalated, throttled, disabled; each step stated.

Pure. What is stated in the question holds: a pause of Keyfuse, or a message that came late, moves the steps and skips
none, and nothing happens to a key before somebody was shown the question. Whatever is done can be undone by the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Final

from controls.desks import NOTHING, IdentityState, Told
from controls.owners import Approvers, approvers_of, asked_for, is_known
from controls.questions import answer_row, answered, next_step, reminded, why_not, withdrawn
from controls.slices import slice_of
from schemas.config.keys import KeysConfig
from schemas.key_record import KeyRecord
from schemas.question import Answer, Choice, Question, Unanswered
from schemas.records import AuditRow, Mode, Request, Step, stable_id

DAY_MS: Final = 86_400_000
LIVE: Final = frozenset({"active", "throttled"})
KEEP, DROP, NOT_MINE = "keep", "drop", "not_mine"
CHOICES: Final = (
    Choice(name=KEEP, label="Still needed", style="primary"), Choice(name=DROP, label="Disable it", style="danger"),
    Choice(name=NOT_MINE, label="Not mine"),
)  # fmt: skip
ModeOf = Callable[[str, str], Mode]
"""By key_id and environment."""


def campaign(state: IdentityState, config: KeysConfig, mode_of: ModeOf, now_ms: int) -> Told:
    """New questions, within the day's number, and the steps of those that nobody has answered."""
    open_about = {each.about: each for each in state.questions.values() if _runs(each)}
    told = [*_taken_back(open_about, state), *_steps(open_about, state, config, mode_of, now_ms)]
    if config.revalidation.enabled:
        told.append(Told(questions=tuple(_asked(open_about, state, config, mode_of, now_ms))))
    return Told.all_of(told)


def due_ms(entry: KeyRecord, config: KeysConfig) -> int | None:
    """When its owner is to be asked; None where nobody is: it is not in use, or has just been replaced."""
    if entry.state not in LIVE:
        return None
    since_ms = max(entry.revalidated_ms or 0, entry.created_ms or 0)
    return since_ms + round(config.revalidation.every_days * DAY_MS) if since_ms else 0


def on_answer(question: Question, answer: Answer, state: IdentityState, config: KeysConfig, now_ms: int) -> Told:
    """What somebody said; also after the key was disabled, for the question stays open until it is answered."""
    stop = why_not(question, answer, state.people)
    entry = state.registry.entry(question.about)
    if not stop and entry is None:
        stop = "the key is not registered any more"
    if stop or entry is None:
        return Told(audit=(answer_row(question, answer, "refused", stop),))
    taken = Told(audit=(answer_row(question, answer, "taken", ""),))
    if answer.choice == NOT_MINE:
        return Told.all_of([taken, _handed_on(question, answer, entry, config.issuing.approvers, state)])
    if answer.choice == KEEP:
        told = kept(entry, answer.by, answer.reason, now_ms)
        outcome = f"The next question comes in {config.revalidation.every_days:g} days."
    else:
        told, outcome = _dropped(entry, answer, now_ms), "It is disabled. It comes back with `keyfuse keys revalidate`."
    return Told.all_of([taken, told, Told(questions=(answered(question, answer, outcome),))])


def kept(entry: KeyRecord, by: str, reason: str, now_ms: int) -> Told:
    """It is needed: what was done because nobody answered is undone."""
    because = f": {reason}" if reason else ""
    was_cut = entry.state in ("throttled", "disabled")
    undone = f", and no longer {entry.state}" if was_cut else ""
    record = entry.next(at_ms=now_ms, by=by, change=f"still needed{undone}{because}", revalidated_ms=now_ms,
                   state="active" if was_cut else entry.state)  # fmt: skip
    return Told(keys=(record,), requests=_orders(entry, "restore", None, by, now_ms, "needed again") if was_cut else ())


def why_not_kept(entry: KeyRecord | None, key_id: str) -> str:
    """Why nothing can be said of this key; empty when it can."""
    if entry is None:
        return f"no key {key_id} is registered"
    return "" if entry.state in (*LIVE, "disabled") else f"it is {entry.state}: there is nothing to keep"


def _runs(question: Question) -> bool:
    return question.kind == "revalidation" and question.state == "open"


def _asked(
    open_about: dict[str, Question], state: IdentityState, config: KeysConfig, mode_of: ModeOf, now_ms: int
) -> Iterator[Question]:
    """Those that wait longest, as many as the day has room for."""
    recent = sum(
        each.kind == "revalidation" and each.asked_at_ms > now_ms - DAY_MS for each in state.questions.values()
    )
    room = config.revalidation.most_per_day - recent
    if room <= 0:
        return
    waiting = [
        (when, entry.key_id) for entry in slice_of(state.registry.entries(), now_ms)
        if entry.key_id not in open_about and (when := due_ms(entry, config)) is not None and when <= now_ms
    ]  # fmt: skip
    for when, key_id in sorted(waiting)[:room]:
        entry = state.registry.entry(key_id)
        if entry is not None:
            yield _question(entry, when, state, config, mode_of, now_ms)


def _question(
    entry: KeyRecord, when: int, state: IdentityState, config: KeysConfig, mode_of: ModeOf, now_ms: int
) -> Question:
    settings, approvers = config.revalidation, config.issuing.approvers
    to = asked_for(entry, approvers, state.people)
    above = ", ".join(approvers_of(entry, approvers, state.people, but={entry.owner})) or "nobody else"
    why = _untouched(entry, mode_of)
    cut = ("the key is throttled", "the key is disabled") if not why else (f"you are asked again: {why}",) * 2
    steps = tuple(
        Unanswered(name=name, at_ms=now_ms + round(days * DAY_MS), words=words, harms=harms)
        for name, days, words, harms in (
            ("remind", settings.remind_after_days, "you are asked again", False),
            ("escalate", settings.escalate_after_days, f"asked as well: {above}", False),
            ("throttle", settings.throttle_after_days, cut[0], not why),
            ("disable", settings.disable_after_days, cut[1], not why),
        )
    )
    last = f"{datetime.fromtimestamp(entry.revalidated_ms / 1000, UTC):%Y-%m-%d}" if entry.revalidated_ms else "never"
    return Question(
        question_id=stable_id("rev", entry.key_id, when, now_ms), kind="revalidation", about=entry.key_id,
        asked_at_ms=now_ms, to=to, team=entry.team, title="Is this key still needed?",
        lines={
            "Key": entry.key_id, "Used for": entry.purpose or "nobody wrote it down",
            "Where": f"{entry.team}/{entry.app} in {entry.env}", "Owner": entry.owner or "nobody",
            "Last confirmed": last,
        },
        choices=CHOICES, steps=steps,
    )  # fmt: skip


def _untouched(entry: KeyRecord, mode_of: ModeOf) -> str:
    """Why silence does nothing to this key; empty where it does."""
    if entry.protected:
        return "the key is protected, nothing is done to it"
    mode = mode_of(entry.key_id, entry.env)
    return "" if mode == "auto" else f"the mode is {mode}, a person disables it"


def _steps(
    open_about: dict[str, Question], state: IdentityState, config: KeysConfig, mode_of: ModeOf, now_ms: int
) -> Iterator[Told]:
    for question in open_about.values():
        entry, step = state.registry.entry(question.about), next_step(question, now_ms)
        if entry is None or step is None or entry.state not in LIVE:
            continue
        to: list[str] = []
        if step.name != "remind":
            to = approvers_of(entry, config.issuing.approvers, state.people, but={entry.owner})
        harmless = not step.harms or bool(_untouched(entry, mode_of))  # it may be protected since it was asked
        told = NOTHING if harmless else _cut(entry, step.name, question, now_ms)
        yield Told.all_of([told, Told(questions=(reminded(question, _words(step, harmless), now_ms, to=to),))])


def _words(step: Unanswered, harmless: bool) -> str:
    if not harmless:
        done = {"throttle": "The key is throttled now", "disable": "The key is disabled now"}[step.name]
        return f"Nobody has answered. {done}; `Still needed` undoes it."
    return "Nobody has answered yet: is this key still needed?"


def _cut(entry: KeyRecord, name: str, question: Question, now_ms: int) -> Told:
    throttles = name == "throttle"
    change = (
        f"{'throttled' if throttles else 'disabled'}: nobody answered whether it is needed ({question.question_id})"
    )
    reason = "nobody answered whether this key is still needed"
    record = entry.next(at_ms=now_ms, by="keyfuse", change=change, state="throttled" if throttles else "disabled")
    orders = _orders(entry, "contain", "throttle" if throttles else None, "keyfuse", now_ms, reason)
    row = AuditRow(
        audit_id=stable_id("aud", question.question_id, name), at_ms=now_ms, actor="keyfuse",
        action=f"revalidation_{name}", key_id=entry.key_id, incident_id="", command_id="", result="done",
        detail={"question": question.question_id, "asked": list(question.to), "asked_at_ms": question.asked_at_ms,
                "shown_at_ms": question.shown_at_ms},
    )  # fmt: skip
    return Told(keys=(record,), requests=orders, audit=(row,))


def _orders(entry: KeyRecord, action: str, step: Step | None, by: str, now_ms: int, reason: str) -> tuple[Request, ...]:
    """Keys of Keyfuse's own are stopped by their record alone, which every gate reads; others at their provider too."""
    if entry.kind == "virtual":
        return ()
    return (
        Request(
            request_id=stable_id("life", entry.key_id, entry.seq, action), at_ms=now_ms, by=by,
            action="restore" if action == "restore" else "contain", key_id=entry.key_id, via="identity", step=step,
            alone=True, reason=reason, facts=entry.facts(),
        ),
    )  # fmt: skip


def _dropped(entry: KeyRecord, answer: Answer, now_ms: int) -> Told:
    because = f": {answer.reason}" if answer.reason else ""
    record = entry.next(at_ms=now_ms, by=answer.by, change=f"disabled, not needed any more{because}", state="disabled")
    return Told(keys=(record,), requests=_orders(entry, "contain", None, answer.by, now_ms, "not needed any more"))


def _handed_on(
    question: Question, answer: Answer, entry: KeyRecord, approvers: Approvers, state: IdentityState
) -> Told:
    """Others are asked; who was asked does not count as its owner's silence any less."""
    others = approvers_of(entry, approvers, state.people, but={answer.by})
    to = tuple(dict.fromkeys((*(name for name in question.to if name != answer.by), *others)))
    lines = {**question.lines, "Not theirs": f"says {answer.by}"}
    return Told(questions=(question.model_copy(update={"to": to, "lines": lines}),))


def _taken_back(open_about: dict[str, Question], state: IdentityState) -> Iterator[Told]:
    """Questions that nobody needs to answer any more, and those whose owner nobody knows any more."""
    for key_id, question in list(open_about.items()):
        entry = state.registry.entry(key_id)
        if entry is None or entry.state not in (*LIVE, "disabled"):
            became = "not registered any more" if entry is None else entry.state
            del open_about[key_id]
            yield Told(questions=(withdrawn(question, f"The key is {became}."),))
        elif (entry.revalidated_ms or 0) >= question.asked_at_ms:
            del open_about[key_id]
            yield Told(questions=(withdrawn(question, f"{entry.by} said so already: {entry.change}."),))
        elif entry.owner not in question.to and is_known(entry.owner, state.people) and not _not_theirs(question):
            changed = question.model_copy(update={"to": (*question.to, entry.owner)})
            open_about[key_id] = changed  # its steps go on from here
            yield Told(questions=(changed,))


def _not_theirs(question: Question) -> bool:
    return "Not theirs" in question.lines
