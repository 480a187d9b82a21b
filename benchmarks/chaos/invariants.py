"""What must be true at the end, whatever happened. Pure: from what was sent and what is left to what is wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final

from benchmarks.chaos.announced import announced
from benchmarks.chaos.collected import Collected
from benchmarks.chaos.harm import broken, ended
from benchmarks.chaos.schedule import Size
from benchmarks.chaos.traffic import Total, Traffic
from benchmarks.chaos.verdict import Verdict, verdict
from schemas.records import Outcome, StepState
from tests.integration.uses import Event, windows_of


def verdicts(sent: Traffic, left: Collected, size: Size) -> list[Verdict]:
    """All of them, and whether it was broken enough for them to mean something."""
    return [*(judge(sent, left) for judge in INVARIANTS), ended(left), broken(left, size)]


def archived(sent: Traffic, left: Collected) -> Verdict:
    rows, different = left.stored
    hours, minutes = _sum(left.hours.values()), _sum(left.minutes.values())
    accepted = len(sent.events)
    wrong = [] if (rows, different) == (accepted, accepted) else [f"{rows} rows of {different} events, not {accepted}"]
    wrong += [
        f"the rollup by {name} has {got.events}"
        for name, got in (("minute", minutes), ("hour", hours))
        if got.events != accepted
    ]
    return verdict(
        "archived rows = accepted events", f"{accepted:,} events; {rows:,} rows, {minutes.events:,} by minute, "
        f"{hours.events:,} by hour", wrong,
    )  # fmt: skip


def minutes(sent: Traffic, left: Collected) -> Verdict:
    expected = sent.totals()
    places = expected.keys() | left.minutes.keys()
    wrong = [
        f"{key} at {minute}: {left.minutes.get((key, minute))}, not {expected.get((key, minute))}"
        for key, minute in sorted(places)
        if left.minutes.get((key, minute)) != expected.get((key, minute))
    ]
    total = _sum(expected.values())
    return verdict(
        "sums by key and minute = the generator's", f"{len(expected):,} of events, tokens, USD; "
        f"{total.tokens:,} tokens, ${total.nano_usd / 1e9:,.2f}", wrong,
    )  # fmt: skip


def windows(sent: Traffic, left: Collected) -> Verdict:
    wrong, count = [], 0
    for key, events in _by_key(sent).items():
        for name, value in windows_of(events, left.clock_s).items():
            count += 1
            got = left.windows.get(key, {}).get(name)
            if got is None or abs(got - value) > 1e-6 * max(1.0, value):
                wrong.append(f"{name} of {key} is {got}, not {value}")
    return verdict("windows of the score stage", f"{count:,} of 10 s to 1 h", wrong)


def spend(sent: Traffic, left: Collected) -> Verdict:
    wrong = []
    for key, events in _by_key(sent).items():
        expected = (
            sum(event["input_tokens"] + event["output_tokens"] for event in events),
            sum(round(event["cost_usd"] * 1e9) for event in events),
        )
        if left.spend.get(key) != expected:
            wrong.append(f"{key}: {left.spend.get(key)} tokens and nano-USD, not {expected}")
    return verdict(
        "budgets' sums", f"{len(left.spend)} budgets, ${sum(s[1] for s in left.spend.values()) / 1e9:,.2f}", wrong
    )


def dead_letters(sent: Traffic, left: Collected) -> Verdict:
    """Of each record that was taken as often as the broker has it."""
    expected = {
        (*place, dead.place, dead.reason.value) for place, value in left.raw.items() for dead in sent.bad.get(value, ())
    }
    told = {(dead.partition, dead.offset, dead.index, dead.reason.value) for dead in left.dead_told}
    stored = [(dead.partition, dead.offset, dead.index, dead.reason.value) for dead in left.dead_stored]
    wrong = [f"missing: {each}" for each in sorted(expected - told)] + [
        f"made up: {each}" for each in sorted(told - expected)
    ]
    if sorted(expected) != sorted(stored):
        wrong.append(f"{len(stored)} in the store, not {len(expected)}")
    reasons = Counter(reason for *_, reason in expected)
    figures = ", ".join(f"{reason} {count}" for reason, count in sorted(reasons.items()))
    return verdict("dead letters = bad records", f"{len(expected)} ({figures})", wrong)


def thefts(sent: Traffic, left: Collected) -> Verdict:
    found = {incident.key_id for incident in left.incidents.values()}
    cut = {effect.key_id for effect in left.effects if effect.status == "disabled"}
    wrong = [f"no incident of {key}" for key in sent.stolen if key not in found]
    wrong += [f"{key} was never cut" for key in sent.stolen if key not in cut]
    return verdict("each theft found and cut", f"{len(sent.stolen)}", wrong)


def effects(__: Traffic, left: Collected) -> Verdict:
    """What changed at the provider is what was confirmed, once each; what was refused changed nothing."""
    wanted, ends, wrong = Counter[tuple[str, str]](), Counter[str](), list[str]()
    orders = Counter(name for name, _ in left.commands)
    for name, command in {name: command for (name, _), command in left.commands.items()}.items():
        # One id may be ordered again once it has ended. Who takes a confirmed order over says so once more.
        told = {(outcome.state, outcome.at_ms): outcome for outcome in left.outcomes.get(name, [])}
        if len(told) < orders[name]:
            wrong.append(f"the {command.step} of {command.key_id} was ordered {orders[name]} times, ended {len(told)}")
        for outcome in told.values():
            ends[f"{command.step} {outcome.state.value}"] += 1
            if outcome.state not in (StepState.CONFIRMED, StepState.REFUSED) and not _asks_again(outcome, left):
                wrong.append(f"the {command.step} of {command.key_id} is {outcome.state.value}: {outcome.detail}")
        confirmed = sum(state is StepState.CONFIRMED for state, _ in told)
        times = min(confirmed, max(1, orders[name] - (len(told) - confirmed)))
        wanted[command.key_id, "active" if command.step == "restore" else "disabled"] += times
    happened = Counter((effect.key_id, effect.status) for effect in left.effects)
    wrong += [
        f"{key} became {status} {happened[key, status]} times, confirmed {wanted[key, status]} times"
        for key, status in sorted(wanted.keys() | happened.keys())
        if happened[key, status] != wanted[key, status]
    ]
    figures = ", ".join(f"{end} {count}" for end, count in sorted(ends.items()))
    return verdict("each command with effect exactly once", f"{orders.total()} orders ({figures})", wrong)


def _asks_again(outcome: Outcome, left: Collected) -> bool:
    """Whether it waits for a person where one has given the key back, and the theft goes on.

    Which of both came first is not asked: the workers' clocks are an hour apart.
    """
    restored = any(
        ended.step == "restore" and ended.key_id == outcome.key_id and ended.state is StepState.CONFIRMED
        for told in left.outcomes.values()
        for ended in told
    )
    return restored and outcome.state is StepState.AWAITING_APPROVAL


def offsets(_: Traffic, left: Collected) -> Verdict:
    wrong = [
        f"{group} lacks {count} of {topic}:{partition}" for (group, topic, partition), count in sorted(left.lag.items())
    ]
    return verdict("committed offsets at the end of every topic", f"{sum(left.lag.values())} records left", wrong)


def audit(_: Traffic, left: Collected) -> Verdict:
    wrong = [f"{problem}" for problem in left.audit_problems]
    return verdict("the audit is a whole chain", f"{left.audit_rows:,} rows", wrong)


INVARIANTS: Final[tuple[Callable[[Traffic, Collected], Verdict], ...]] = (
    archived, minutes, windows, spend, dead_letters, announced, thefts, effects, offsets, audit,
)  # fmt: skip


def _sum(totals: Iterable[Total]) -> Total:
    events, tokens, nano_usd = (sum(each) for each in zip(*totals, (0, 0, 0), strict=True))
    return Total(events, tokens, nano_usd)


def _by_key(sent: Traffic) -> dict[str, list[Event]]:
    found: dict[str, list[Event]] = {}
    for event in sent.events:
        found.setdefault(event["key_id"], []).append(event)
    return found
