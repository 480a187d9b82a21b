"""What must be true at the end, whatever happened. Pure: from what was sent and what is left to what is wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from benchmarks.chaos.collected import Collected
from benchmarks.chaos.traffic import Total, Traffic
from schemas.records import Outcome, StepState
from tests.integration.uses import Event, windows_of

MOST_TOLD: Final = 5
"""Of one kind of mistake; the rest is counted."""


@dataclass(frozen=True)
class Verdict:
    """One invariant: its figures, and what is wrong; nothing when it holds."""

    what: str
    figures: str
    wrong: tuple[str, ...]


def verdicts(sent: Traffic, left: Collected) -> list[Verdict]:
    """All of them."""
    return [judge(sent, left) for judge in INVARIANTS]


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
    return _verdict(
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
    return _verdict(
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
    return _verdict("windows of the score stage", f"{count:,} of 10 s to 1 h", wrong)


def spend(sent: Traffic, left: Collected) -> Verdict:
    wrong = []
    for key, events in _by_key(sent).items():
        expected = (
            sum(event["input_tokens"] + event["output_tokens"] for event in events),
            sum(round(event["cost_usd"] * 1e9) for event in events),
        )
        if left.spend.get(key) != expected:
            wrong.append(f"{key}: {left.spend.get(key)} tokens and nano-USD, not {expected}")
    return _verdict(
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
    return _verdict("dead letters = bad records", f"{len(expected)} ({figures})", wrong)


def announced(_: Traffic, left: Collected) -> Verdict:
    board, wrong, copies = left.board, [], Counter[str]()
    for one, incident in left.incidents.items():
        posts, pages, hooks = board.slack_posts(one), board.pages(one), board.hooks(one)
        told = {"Slack": len(posts), "PagerDuty": pages.count("trigger"), "the webhook": len(hooks)}
        wrong += [f"{name} was never told of {one} of {incident.key_id}" for name, count in told.items() if not count]
        copies["Slack"] += max(0, len(posts) - 1)
        copies["the webhook"] += len(hooks) - len({hook["seq"] for hook in hooks})
        shown = {"Slack": board.slack_shows(one), "the webhook": max((hook["seq"] for hook in hooks), default=0)}
        wrong += [
            f"{name} shows version {seq} of {one}, not {incident.seq}"
            for name, seq in shown.items()
            if seq != incident.seq
        ]
    per_key = Counter(incident.key_id for incident in left.incidents.values())
    wrong += [f"{count} incidents of {key}" for key, count in per_key.items() if count > 1]
    return _verdict(
        "each incident told on each channel, under one identity", f"{len(left.incidents)} incidents on 3 channels; told"
        f" again after a lost answer or a kill: Slack {copies['Slack']}, webhook {copies['the webhook']}", wrong,
    )  # fmt: skip


def thefts(sent: Traffic, left: Collected) -> Verdict:
    found = {incident.key_id for incident in left.incidents.values()}
    cut = {effect.key_id for effect in left.effects if effect.status == "disabled"}
    wrong = [f"no incident of {key}" for key in sent.stolen if key not in found]
    wrong += [f"{key} was never cut" for key in sent.stolen if key not in cut]
    return _verdict("each theft found and cut", f"{len(sent.stolen)}", wrong)


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
    return _verdict("each command with effect exactly once", f"{orders.total()} orders ({figures})", wrong)


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
    return _verdict("committed offsets at the end of every topic", f"{sum(left.lag.values())} records left", wrong)


def audit(_: Traffic, left: Collected) -> Verdict:
    wrong = [f"{problem}" for problem in left.audit_problems]
    return _verdict("the audit is a whole chain", f"{left.audit_rows:,} rows", wrong)


def ended(_: Traffic, left: Collected) -> Verdict:
    wrong = [f"a worker ended with {status}" for status in left.exits if status != 0]
    return _verdict("workers end in order on SIGTERM", f"{len(left.exits)} workers", wrong)


INVARIANTS: Final[tuple[Callable[[Traffic, Collected], Verdict], ...]] = (
    archived, minutes, windows, spend, dead_letters, announced, thefts, effects, offsets, audit, ended,
)  # fmt: skip


def _verdict(what: str, figures: str, wrong: list[str]) -> Verdict:
    more = [f"... and {len(wrong) - MOST_TOLD} more"] if len(wrong) > MOST_TOLD else []
    return Verdict(what, figures, (*wrong[:MOST_TOLD], *more))


def _sum(totals: Iterable[Total]) -> Total:
    events, tokens, nano_usd = (sum(each) for each in zip(*totals, (0, 0, 0), strict=True))
    return Total(events, tokens, nano_usd)


def _by_key(sent: Traffic) -> dict[str, list[Event]]:
    found: dict[str, list[Event]] = {}
    for event in sent.events:
        found.setdefault(event["key_id"], []).append(event)
    return found
