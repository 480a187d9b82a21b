"""Marks on their way: newest versions, out of the decide stage, into the cores of the score stage."""

from __future__ import annotations

import pytest

from schemas.records import Finding, Mark, Request, StepState
from streams.marks import NewestMarks
from streams.topics import Topic
from tests.marks import expected, false_positive, withdrawn
from tests.streams.test_decide import feed, stage
from tests.streams.test_score import Worker, frames, ids
from tests.streams.world import KEY, T0, MemoryOutbox, MemoryShards, decider, finding, outcome, request

ONE = false_positive("k1")
GONE = withdrawn(ONE)


@pytest.mark.parametrize(
    ("records", "left"),
    [
        ([ONE], [ONE]),
        ([ONE, ONE], [ONE]),
        ([ONE, GONE], [GONE]),
        ([GONE, ONE], [GONE]),
        ([ONE, None], []),
        ([None, ONE], [ONE]),
        ([ONE, expected("k2")], sorted([ONE, expected("k2")], key=lambda mark: mark.mark_id)),
    ],
)
def test_the_newest_version_counts_however_they_come(records: list[Mark | None], left: list[Mark]) -> None:
    newest = NewestMarks()
    for record in records:
        newest.take(ONE.mark_id.encode(), record.to_bytes() if record else None)
    assert newest.all() == left


def test_only_what_changes_something_is_news_and_nonsense_is_none() -> None:
    newest = NewestMarks()
    key = ONE.mark_id.encode()
    values = [ONE.to_bytes(), ONE.to_bytes(), b"{", b"", GONE.to_bytes(), ONE.to_bytes(), None, None]
    assert [newest.take(key, value) for value in values] == [True, False, False, False, True, False, True, False]


def test_a_false_positive_marks_the_families_that_spoke() -> None:
    rules = decider()
    first = rules.finding(None, finding(0, family="velocity"))
    second = rules.finding(first.case, finding(5, family="mix"))
    told = rules.request(second.case, request("false_positive", 60))
    [mark] = told.marks
    [incident] = told.incidents
    assert (mark.verdict, mark.key_id, mark.incident_id, mark.by) == (
        "false_positive",
        KEY,
        incident.incident_id,
        "ana",
    )
    assert (mark.families, mark.at_ms) == (("velocity", "mix"), T0 + 60_000)
    assert (mark.from_ms, mark.until_ms) == (T0, T0 + 5000)
    assert mark.mark_id == Mark.id_of(incident.incident_id)
    assert mark.reason


def test_a_false_positive_that_gives_a_cut_key_back_still_marks() -> None:
    rules = decider()
    first = rules.finding(None, finding(0, family="policy"))
    cut = rules.outcome(first.case, outcome(first.commands[0], StepState.CONFIRMED), at_ms=T0 + 1000)
    told = rules.request(cut.case, request("false_positive"))
    assert [command.step for command in told.commands] == ["restore"]
    assert [mark.families for mark in told.marks] == [("policy",)]


def test_other_words_and_repeats_and_orders_of_people_mark_nothing() -> None:
    rules = decider()
    opened = rules.finding(None, finding(0))
    for action in ("acknowledge", "resolve"):
        assert rules.request(opened.case, request(action)).marks == ()
    told = rules.request(opened.case, request("false_positive"))
    assert rules.request(told.case, request("false_positive")).marks == ()
    assert rules.request(told.case, request("false_positive", 61)).marks == ()
    ordered = rules.request(None, request("contain"))
    assert rules.request(ordered.case, request("false_positive")).marks == ()


def test_a_request_without_a_name_or_reason_and_with_a_secret_makes_a_mark_all_the_same() -> None:
    rules = decider()
    opened = rules.finding(None, finding(0))
    secret = "sk-proj-Ab3dEf6hIj9kLm2nOp5qRs8t"
    asked = Request.model_validate({**request("false_positive").model_dump(), "by": "", "reason": f"it used {secret}"})
    [mark] = rules.request(opened.case, asked).marks
    assert mark.by == "unknown"
    assert secret not in mark.to_bytes().decode()


async def test_a_crash_before_the_case_is_stored_sends_the_same_mark_again() -> None:
    store, outbox = MemoryShards(), MemoryOutbox()
    await feed(stage(store, outbox), finding(0).to_bytes())
    store.crash_after = 0
    with pytest.raises(ConnectionError):
        await feed(stage(store, outbox), request("false_positive").to_bytes(), 1)
    store.crash_after = None
    await feed(stage(store, outbox), request("false_positive").to_bytes(), 1)
    await feed(stage(store, outbox), request("false_positive").to_bytes(), 1)
    first, second = outbox.of(Topic.MARKS)
    assert first == second


async def test_marks_reach_cores_that_are_there_and_those_that_come() -> None:
    worker = Worker(MemoryShards(), MemoryOutbox())
    worker.stage.allow([ONE])
    [first] = frames(1)
    await worker.take(0, first)
    [core] = worker.stage.cores()
    assert core.judge.allowances.marked.marks == (ONE,)
    worker.stage.allow([GONE])
    assert core.judge.allowances.marked.marks == (GONE,)
    worker.stage.drop()
    await worker.take(0, first)
    [core] = worker.stage.cores()
    assert core.judge.allowances.marked.marks == (GONE,)


@pytest.mark.parametrize("killed_at", [4, 14, 22])
async def test_a_killed_worker_with_the_same_marks_says_what_an_undisturbed_one_says(killed_at: int) -> None:
    marks = [expected("key-0", at_ms=T0 + 44_000, hours=0.01, times=1000), false_positive("key-3", at_ms=T0)]
    log, quiet = list(frames(30)), MemoryOutbox()
    undisturbed = Worker(MemoryShards(), quiet)
    undisturbed.stage.allow(marks)
    for offset, frame in enumerate(log):
        await undisturbed.take(offset, frame)
    store, outbox = MemoryShards(), MemoryOutbox()
    lives = [Worker(store, outbox), Worker(store, outbox)]
    for life in lives:
        life.stage.allow(marks)
    for offset, frame in enumerate(log[: killed_at + 1]):
        await lives[0].take(offset, frame)
    for offset in range(lives[0].acked + 1, len(log)):
        await lives[1].take(offset, log[offset])
    assert ids(outbox) == ids(quiet)
    assert ids(quiet)


async def test_an_expected_burst_is_kept_quiet_and_its_certain_limit_is_not() -> None:
    said = []
    for marks in ([], [expected("key-0", at_ms=T0 - 1000, times=1000)]):
        outbox = MemoryOutbox()
        worker = Worker(MemoryShards(), outbox)
        worker.stage.allow(marks)
        for offset, frame in enumerate(frames(12)):
            await worker.take(offset, frame)
        said.append({one.family for one in outbox.of(Topic.FINDINGS) if isinstance(one, Finding)})
    assert said == [{"policy", "velocity"}, {"policy"}]
