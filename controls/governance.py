"""How well keys are governed: one line for each thing an auditor asks, with its evidence, and what to do next. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

from controls.posture import WORDS, Control, Posture
from schemas.config.budgets import BudgetConfig
from schemas.exception import PolicyException
from schemas.follow_up import FollowUp
from schemas.records import rfc3339

DAY_MS: Final = 86_400_000
_NAMED: Final = 5


class Rotation(NamedTuple):
    """One change of a secret, as the audit has it."""

    key_id: str  # the new one
    old: str
    at_ms: int
    by: str
    refused_ms: int | None  # when the old one was seen to be refused; None: not yet
    proof: str


class Facts(NamedTuple):
    """All that the report goes by."""

    postures: Sequence[Posture]
    budgets: Sequence[BudgetConfig]
    covered: Callable[[Posture], Sequence[BudgetConfig]]
    approvers: Sequence[str]  # people whose word counts for good
    exceptions: Sequence[PolicyException]
    rotations: Sequence[Rotation]
    follow_ups: Sequence[FollowUp]
    at_ms: int
    said: str = ""  # what could not be asked, in words


class Line(NamedTuple):
    """One question of the auditor."""

    title: str
    weight: float
    met: int
    of: int  # 0: there is nothing to judge
    evidence: tuple[str, ...]
    todo: tuple[str, ...]

    @property
    def share(self) -> float | None:
        return self.met / self.of if self.of else None

    @property
    def state(self) -> str:
        """In a word."""
        if not self.of:
            return "nothing to judge"
        return "met" if self.met == self.of else "missing" if self.met == 0 else "partly"


class Report(NamedTuple):
    """The whole page."""

    score: int | None  # 0 to 100; None: nothing to judge
    lines: tuple[Line, ...]
    next_steps: tuple[str, ...]  # what gains most, first
    at_ms: int
    said: str


def report(facts: Facts) -> Report:
    """Each line is judged by the share of what meets it; the score is their weighted mean."""
    lines = (
        _keys_with("owner", 3, facts), _keys_with("purpose", 1, facts), _keys_with("revalidation", 2, facts),
        _loss(facts), _keys_with("models", 2, facts), _exceptions(facts), _budgets(facts),
        _keys_with("rotation", 2, facts), _rotations(facts),
        _keys_with("expiry", 1, facts, where=lambda each: each.entry.env != "prod"),
        _keys_with("backup", 2, facts, where=lambda each: each.entry.env == "prod"), _keys_with("cut", 2, facts),
        _approvers(facts), _follow_ups(facts),
    )  # fmt: skip
    judged = [(line.weight, line.share) for line in lines if line.share is not None]
    total = sum(weight for weight, _ in judged)
    score = round(100 * sum(weight * share for weight, share in judged) / total) if total else None
    return Report(score, lines, tuple(_next_steps(lines)), facts.at_ms, facts.said)


def _next_steps(lines: Iterable[Line]) -> list[str]:
    gains = [(line.weight * (1 - line.share), line) for line in lines if line.share is not None and line.share < 1]
    ranked = sorted(gains, key=lambda gain: (-gain[0], gain[1].title))
    return [line.todo[0] for _, line in ranked if line.todo]


def _keys_with(
    control: Control, weight: float, facts: Facts, *, where: Callable[[Posture], bool] = lambda _: True
) -> Line:
    asked = [each for each in facts.postures if where(each)]
    lacking = [each for each in asked if not each.holds(control)]
    means, setting = WORDS[control]
    title = means[0].upper() + means[1:]
    evidence = (f"{len(asked) - len(lacking)} of {len(asked)} keys, from the registry",)
    todo = (f"{title}: for {_names([each.entry.key_id for each in lacking])}: {setting}",) if lacking else ()
    return Line(title, weight, len(asked) - len(lacking), len(asked), evidence, todo)


def _loss(facts: Facts) -> Line:
    over = [each for each in facts.postures if not each.radius.within]
    evidence = (f"{len(facts.postures) - len(over)} of {len(facts.postures)} keys, by `keyfuse blast-radius`",)
    title = "A theft costs no more than the environment may lose"
    todo = (f"{title}: for {_names([each.entry.key_id for each in over])}: see `keyfuse blast-radius`",) if over else ()
    return Line(title, 3, len(facts.postures) - len(over), len(facts.postures), evidence, todo)


def _budgets(facts: Facts) -> Line:
    """A key is under a budget that somebody owns and that tells somebody."""
    good = {budget.name for budget in facts.budgets if budget.owner and budget.escalate_to}
    lacking = [each for each in facts.postures if not any(one.name in good for one in facts.covered(each))]
    unowned = [budget.name for budget in facts.budgets if budget.name not in good]
    evidence = [f"{len(facts.budgets)} budgets, {len(good)} with an owner and an escalation path, in budgets.yaml"]
    todo = []
    if unowned:
        todo.append(f"Name `owner` and `escalate_to` of the budgets {_names(unowned)} in budgets.yaml")
    if lacking:
        todo.append(f"Put {_names([each.entry.key_id for each in lacking])} under a budget in budgets.yaml")
    met = len(facts.postures) - len(lacking)
    title = "A budget with an owner and an escalation path covers it"
    return Line(title, 2, met, len(facts.postures), tuple(evidence), tuple(todo))


def _exceptions(facts: Facts) -> Line:
    now = [one for one in facts.exceptions if one.state == "active" and one.until_ms > facts.at_ms]
    evidence = [
        f"{one.exception_id}: {one.rule}{f' of {one.of}' if one.of else ''}, for {one.owner}, approved by "
        f"{one.approved_by}, ends {rfc3339(one.until_ms)[:10]}: {one.reason}"
        for one in sorted(now, key=lambda one: one.until_ms)
    ]
    good = [one for one in now if one.owner and one.approved_by not in {"", one.by}]
    todo = [f"End {one.exception_id}: it lacks an owner or a second person" for one in now if one not in good]
    waiting = sum(one.state == "asked" for one in facts.exceptions)
    if waiting:
        evidence.append(f"{waiting} more wait for an approval")
    return Line(
        "Exceptions have an owner, a second person and an end", 2, len(good), len(now), tuple(evidence), tuple(todo)
    )


def _rotations(facts: Facts) -> Line:
    """Those of the last year; one whose overlap still runs is not judged yet."""
    recent = [one for one in facts.rotations if one.at_ms > facts.at_ms - 366 * DAY_MS]
    proved = [one for one in recent if one.refused_ms is not None]
    evidence = [
        f"{one.old} → {one.key_id} on {rfc3339(one.at_ms)[:10]} by {one.by}: {one.proof or 'not seen refused yet'}"
        for one in sorted(recent, key=lambda one: -one.at_ms)[:_NAMED]
    ]
    more = [f"and {len(recent) - _NAMED} more in the audit"] if len(recent) > _NAMED else []
    title = "Rotated secrets were seen to be refused"
    left = [one.old for one in recent if one.refused_ms is None]
    todo = (f"{title}: see to {_names(left)} (`keyfuse keys due`)",) if left else ()
    return Line(title, 2, len(proved), len(recent), (*evidence, *more), todo)


def _approvers(facts: Facts) -> Line:
    """Two people must be able to stand behind what cannot be undone."""
    met = min(len(facts.approvers), 2)
    evidence = (f"{len(facts.approvers)} in people.yaml: {_names(list(facts.approvers))}",) if facts.approvers else ()
    todo = () if met == 2 else ("Name two people with the role approver or admin in people.yaml",)
    return Line("Two people can approve what cannot be undone", 1, met, 2, evidence, todo)


def _follow_ups(facts: Facts) -> Line:
    """What was decided after incidents is done, or has an owner and is not overdue."""
    asked = [each for each in facts.follow_ups if each.state != "dropped"]
    late = [each for each in asked if each.overdue(facts.at_ms)]
    done, dropped = sum(each.state == "done" for each in asked), len(facts.follow_ups) - len(asked)
    counts = f"{done} done, {len(asked) - done} open, {len(late)} overdue, {dropped} dropped"
    evidence = (counts,) if facts.follow_ups else ()
    title = "What was decided after incidents is done in time"
    named = _names([f"{each.follow_up_id} ({each.owner})" for each in late])
    todo = (f"{title}: {named} (`keyfuse followup list`)",) if late else ()
    return Line(title, 2, len(asked) - len(late), len(asked), evidence, todo)


def _names(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
