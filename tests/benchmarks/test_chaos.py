"""The chaos run: what it draws from a seed, what its traffic adds up to, and that its invariants can fail."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from benchmarks.chaos.collected import Collected
from benchmarks.chaos.invariants import verdicts
from benchmarks.chaos.report import mistakes, table
from benchmarks.chaos.schedule import FULL, QUICK, Fault, Size, schedule
from benchmarks.chaos.services import Effect
from benchmarks.chaos.traffic import Total, Traffic, made_up
from schemas.audit_chain import Problem
from schemas.records import Command, Outcome, StepState
from service.config_tree import Folder
from service.install import Install
from sources.batch import RawRecord
from tests.benchmarks.chaos_left import board, by_order, perfect
from tests.containment.build import command, incident
from tests.integration.uses import T0_MS

SEEDS = range(20)


@pytest.fixture(scope="module")
def sent() -> Traffic:
    return made_up(7, seconds=40, thefts=1, partitions=4)


def test_the_same_seed_breaks_and_sends_the_same() -> None:
    assert schedule(3, QUICK) == schedule(3, QUICK) != schedule(4, QUICK)
    one, again = (made_up(3, seconds=20, thefts=2, partitions=4) for _ in range(2))
    assert one == again != made_up(4, seconds=20, thefts=2, partitions=4)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_full_run_is_to_break_as_much_as_it_says(seed: int) -> None:
    faults = schedule(seed, FULL)
    counts = Counter(str(fault.what) for fault in faults)
    assert counts["SIGKILL"] + counts["SIGTERM"] >= FULL.least.ended == 100
    assert counts["broker stops"] + counts["broker is killed"] >= 10
    numbers = [2, *(int(fault.value) for fault in faults if fault.what == "workers")]
    assert set(numbers) == {1, 2, 3}
    assert sum(abs(after - before) for before, after in pairwise(numbers)) >= 24
    assert max(fault.for_s for fault in faults if fault.what == "store is unreachable") > 120
    assert max(abs(fault.value) for fault in faults if fault.what == "clock") > 1800
    assert [fault.at_s for fault in faults] == sorted(fault.at_s for fault in faults)


@pytest.mark.parametrize("size", [QUICK, FULL])
@pytest.mark.parametrize("of", ["broker", "store"])
def test_what_is_stopped_already_is_never_stopped(size: Size, of: str) -> None:
    for seed in SEEDS:
        own = [fault for fault in schedule(seed, size) if fault.what.startswith(of)]
        assert all(before.at_s + before.for_s < after.at_s for before, after in pairwise(own))


def test_a_fault_says_what_it_is() -> None:
    told = str(Fault(12.34, "SIGSTOP", for_s=6)), str(Fault(600, "clock", "of worker 1", value=-3600))
    assert told == ("   12.3 s  SIGSTOP for 6.0 s", "  600.0 s  clock of worker 1 -3600")


def test_bad_records_are_refused_for_the_reasons_that_are_expected(sent: Traffic) -> None:
    parser = Install(Folder(), Path("nowhere"), {"KEYFUSE_PEPPER": "pepper of the tests"}).parser(max_future_s=30)
    values = list(sent.bad)
    records = [RawRecord(0, offset, value, None) for offset, value in enumerate(values)]
    parsed = parser.parse(records, topic="usage.raw", now_ms=T0_MS + 10**9)
    found = sorted((dead.offset, dead.index, dead.reason) for dead in parsed.dead)
    assert found == sorted((values.index(v), dead.place, dead.reason) for v in values for dead in sent.bad[v])
    assert len({dead.reason for dead in parsed.dead}) == 5


def test_what_is_sent_is_what_it_adds_up_to(sent: Traffic) -> None:
    received: dict[str, dict[str, Any]] = {}
    for record in sent.records:
        if record.value not in sent.bad:
            for line in _events(record.value):
                received[line["event_id"]] = line
    good = {event["event_id"] for event in sent.events}
    assert received.keys() <= good
    mixed = {event for event in good - received.keys() if event.startswith("mixed")}
    assert good - received.keys() == mixed  # those stand beside a bad one
    totals = sent.totals()
    assert sum(total.events for total in totals.values()) == len(sent.events) == len(good)
    assert {record.way for record in sent.records} == {"kafka", "http"}


def test_everything_holds_of_a_run_that_left_what_was_sent(sent: Traffic) -> None:
    found = verdicts(sent, perfect(sent), QUICK)
    assert [verdict.wrong for verdict in found] == [()] * len(found)
    assert mistakes(found, 7, "again") == []
    assert table({"kills": 3}, found).count(": holds |") == len(found)


def test_an_order_that_two_workers_saw_confirmed_has_one_effect(sent: Traffic) -> None:
    left = perfect(sent)
    again = {name: [*told, told[0].model_copy(update={"at_ms": 99})] for name, told in left.outcomes.items()}
    assert not any(verdict.wrong for verdict in verdicts(sent, replace(left, outcomes=again), QUICK))


def test_after_a_person_gave_the_key_back_the_next_cut_may_wait_for_a_person(sent: Traffic) -> None:
    [stolen] = sent.stolen
    cut, back = command(stolen), command(stolen, step="restore", at_ms=2)
    left = perfect(sent)
    [[ended]] = left.outcomes.values()
    restored = ended.model_copy(update={"command_id": back.command_id, "step": "restore", "at_ms": 2})
    asks = ended.model_copy(update={"state": StepState.AWAITING_APPROVAL, "at_ms": 3})
    again = by_order(cut, back, cut.model_copy(update={"at_ms": 3}))
    given_back = replace(
        left, commands=again, effects=[*left.effects, Effect(stolen, "active")],
        outcomes={cut.command_id: [ended, asks], back.command_id: [restored]},
    )  # fmt: skip
    assert not any(verdict.wrong for verdict in verdicts(sent, given_back, QUICK))


@pytest.mark.parametrize(
    ("what", "changes"),
    [
        ("archived rows = accepted events", lambda left: {"stored": (left.stored[0] + 1, left.stored[1])}),
        ("archived rows = accepted events", lambda left: {"hours": dict(list(left.hours.items())[1:])}),
        ("sums by key and minute", lambda left: {"minutes": _one_more(left.minutes)}),
        ("windows of the score stage", lambda left: {"windows": dict(list(left.windows.items())[1:])}),
        ("budgets' sums", lambda left: {"spend": {**left.spend, "key_00": (0, 0)}}),
        ("dead letters", lambda left: {"dead_told": left.dead_told[1:]}),
        ("dead letters", lambda left: {"dead_stored": [*left.dead_stored, left.dead_stored[0]]}),
        ("dead letters", lambda left: {"dead_told": [left.dead_told[0].model_copy(update={"index": 9})]}),
        ("each incident told", lambda left: {"incidents": {"inc_2": incident(incident_id="inc_2")}}),
        ("each incident told", lambda left: {"incidents": {"inc_1": incident(seq=2)}}),
        ("each theft found and cut", lambda left: {"effects": [], "commands": {}}),
        ("each command with effect", lambda left: {"effects": [*left.effects, *left.effects]}),
        ("each command with effect", lambda left: {"outcomes": {}}),
        ("each command with effect", lambda left: {"commands": _ordered_again(left)}),
        ("each command with effect", lambda left: {"outcomes": _ended(left, StepState.IRREVOCABLE)}),
        ("each command with effect", lambda left: {"outcomes": _ended(left, StepState.AWAITING_APPROVAL)}),
        ("committed offsets", lambda left: {"lag": {("decide", "keyfuse.findings", 1): 2}}),
        ("the audit", lambda left: {"audit_problems": [Problem("missing", "keyfuse.audit:0", 4, "4 is missing")]}),
        ("each process ends", lambda left: {"ends": [*left.ends, replace(left.ends[0], status=1)]}),
        ("each process ends", lambda left: {"ends": [*left.ends, replace(left.ends[0], told=())]}),
        ("it was broken", lambda left: {"ends": left.ends[1:]}),
        ("it was broken", lambda left: {"rebalances": Counter({2: QUICK.least.rebalances - 1})}),
        ("it was broken", lambda left: {"outages": [left.outages[0]._replace(ended_s=left.outages[0].began_s + 1)]}),
        ("each incident told", lambda _: {"board": board("slack", copies=1)}),
        ("each incident told", lambda _: {"board": board("pagerduty", copies=1)}),
        ("each incident told", lambda _: {"board": board("webhook", copies=1)}),
        ("each incident told", lambda _: {"board": board(pagerduty_key="inc_1-again")}),
    ],
)  # fmt: skip
def test_each_invariant_fails_where_its_promise_is_broken(sent: Traffic, what: str, changes: Any) -> None:
    left = perfect(sent)
    found = {verdict.what: verdict.wrong for verdict in verdicts(sent, replace(left, **changes(left)), QUICK)}
    assert [name for name, wrong in found.items() if wrong and name.startswith(what)]
    [words] = [
        words for words in mistakes(verdicts(sent, replace(left, **changes(left)), QUICK), 7, "again") if what in words
    ][:1]
    assert words.endswith("seed 7: `again`")


def _ordered_again(left: Collected) -> dict[tuple[str, int], Command]:
    [first] = left.commands.values()
    return by_order(first, first.model_copy(update={"at_ms": first.at_ms + 1}))


def _ended(left: Collected, state: StepState) -> dict[str, list[Outcome]]:
    return {name: [one.model_copy(update={"state": state}) for one in told] for name, told in left.outcomes.items()}


def _events(value: bytes) -> Iterator[dict[str, Any]]:
    if value.startswith(b"["):
        yield from json.loads(value)
    else:
        yield from (json.loads(line) for line in value.splitlines())


def _one_more(minutes: dict[Any, Total]) -> dict[Any, Total]:
    place, total = next(iter(minutes.items()))
    return {**minutes, place: total._replace(nano_usd=total.nano_usd + 1)}
