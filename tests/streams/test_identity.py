"""The identity stage: a message has all of its effects or none, through crashes, repeats and changes of owner."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pytest

from controls.desks import IdentityState, Told
from controls.people import NOBODY
from schemas.config.keys import KeyConfig, KeysConfig
from schemas.key_record import KeyRecord
from schemas.question import Answer, Choice, Question, QuestionKind
from schemas.records import AuditRow, DeadLetter, Mark, Record
from streams.identity import DUE_EVERY_MS, FORGET_MS, HELD, LANES, Books, IdentityStage
from streams.metrics import Metrics
from streams.topics import Topic
from tests.marks import false_positive
from tests.streams.world import KEY, T0, MemoryOutbox, MemoryShards


class Broker(MemoryOutbox):
    """Topics in memory, the held ones readable again; `crash_after` records it fails, as a broker that dies does."""

    def __init__(self) -> None:
        super().__init__()
        self.crash_after: int | None = None

    async def send(self, topic: Topic, records: Iterable[tuple[str, Record]]) -> dict[int, int]:
        for pair in records:
            if self.crash_after is not None:
                if self.crash_after == 0:
                    raise ConnectionError("the broker is gone")
                self.crash_after -= 1
            await super().send(topic, [pair])
        return {}

    def shelf(self, topic: Topic) -> Shelf:
        return Shelf(self.of(topic), next(lane.key for lane in HELD if lane.topic is topic))


class Shelf:
    """One held topic as it is at the start."""

    def __init__(self, records: list[Record], name: str) -> None:
        self._records, self._name = records, name

    def drop(self) -> None:
        """Nothing is kept."""

    async def load(self, partition: int) -> None:
        """It is there."""

    def items(self, partition: int) -> dict[bytes, bytes]:
        found = {str(getattr(record, self._name)).encode(): record.to_bytes() for record in self._records}
        return found | {b"broken": b"{", b"gone": b""}


class Clerk:
    """A desk that counts: each mark makes the next version of two keys, a question and a row."""

    takes: Mapping[str, type[Record]] = {"mark": Mark}
    kinds: frozenset[QuestionKind] = frozenset({"revalidation"})

    def __init__(self, due: Callable[[IdentityState, int], Told] = lambda state, now_ms: Told()) -> None:
        self.due = due

    def take(self, message: Record, state: IdentityState, now_ms: int) -> Told:
        known = state.registry.entry(KEY)
        seq = known.seq + 1 if known else 0
        keys = tuple(key(key_id, seq=seq, at_ms=now_ms) for key_id in (KEY, "k2"))
        return Told(keys=keys, questions=(question(seq),), audit=(row(message, seq),))


def key(key_id: str = KEY, **changes: Any) -> KeyRecord:
    fields = {"seq": 0, "at_ms": T0, "by": "ann", "change": "made", "kind": "virtual", "state": "active",
              "provider": "keyfuse"}  # fmt: skip
    return KeyRecord(key_id=key_id, **{**fields, **changes})


def question(number: int = 0) -> Question:
    return Question(
        question_id=f"q{number}", kind="revalidation", about=KEY, asked_at_ms=T0, to=("ann",), title="Still needed?",
        choices=(Choice(name="yes", label="Yes"),),
    )  # fmt: skip


def row(message: Record, number: int) -> AuditRow:
    return AuditRow(
        audit_id=f"aud_{number}", at_ms=T0, actor="ann", action=getattr(message, "type", ""), key_id=KEY,
        incident_id="", command_id="", result="done",
    )  # fmt: skip


class Clock:
    now_ms = T0

    def __call__(self) -> int:
        Clock.now_ms += 1
        return Clock.now_ms


def stage(
    broker: Broker, journal: MemoryShards, *, clerk: Clerk | None = None, keys: KeysConfig | None = None
) -> IdentityStage:
    config, desks = keys or KeysConfig(), (clerk or Clerk(),)
    made = IdentityStage(
        desks=lambda: desks, keys=lambda: config, people=lambda: NOBODY, books=Books(broker.shelf, journal),
        outbox=broker, metrics=Metrics(), now_ms=Clock(),
    )  # fmt: skip
    made.restored(0, {})
    return made


ASK = false_positive(KEY).to_bytes()
OTHER = false_positive("k9").to_bytes()


def said(broker: Broker) -> dict[str, list[Record]]:
    return {lane.field: broker.of(lane.topic) for lane in LANES if broker.of(lane.topic)}


async def test_what_a_desk_tells_goes_where_its_kind_goes() -> None:
    broker = Broker()
    await stage(broker, MemoryShards()).on_record(0, ASK)
    assert {field: len(records) for field, records in said(broker).items()} == {"keys": 2, "audit": 1, "questions": 1}


@pytest.mark.parametrize("crash_after", range(6))
@pytest.mark.parametrize("journal_dies", [False, True])
async def test_a_crash_anywhere_leaves_nothing_half_done_and_nothing_done_twice(
    crash_after: int, journal_dies: bool
) -> None:
    broker, journal = Broker(), MemoryShards()
    await stage(broker, journal).on_record(0, ASK)
    dying = journal if journal_dies else broker
    dying.crash_after = crash_after
    try:
        await stage(broker, journal).on_record(1, OTHER)
    except ConnectionError:
        assert crash_after < 5
    dying.crash_after = None
    later = stage(broker, journal)
    for _ in range(2):  # it comes again until it is acknowledged
        await later.on_record(1, OTHER)
    versions = {(record.key_id, record.seq) for record in broker.of(Topic.KEYS) if isinstance(record, KeyRecord)}
    assert versions == {(KEY, 0), ("k2", 0), (KEY, 1), ("k2", 1)}
    assert len({record.to_bytes() for record in broker.of(Topic.KEYS)}) == 4
    assert {record.to_bytes() for record in broker.of(Topic.QUESTIONS)} == {question(n).to_bytes() for n in (0, 1)}


async def test_a_restart_knows_keys_and_questions_and_keys_yaml() -> None:
    broker, journal = Broker(), MemoryShards()
    written = KeysConfig(keys=(KeyConfig(key_id="k3", provider="openai", team="search"),))
    await stage(broker, journal).on_record(0, ASK)
    seen: list[IdentityState] = []
    clerk = Clerk(due=lambda state, now_ms: seen.append(state) or Told())  # type: ignore[func-returns-value]
    await stage(broker, journal, clerk=clerk, keys=written).tick()
    [state] = seen
    assert set(state.registry.entries()) == {KEY, "k2", "k3"}
    assert state.questions == {"q0": question(0)}


async def test_a_topic_that_was_made_anew_is_read_from_its_beginning() -> None:
    broker, journal = Broker(), MemoryShards()
    await stage(broker, journal).on_record(70, ASK)
    await stage(broker, journal).on_record(0, ASK)
    assert len(broker.of(Topic.KEYS)) == 4


async def test_only_the_owner_looks_at_the_hour_and_only_every_few_seconds() -> None:
    asked: list[int] = []
    clerk = Clerk(due=lambda state, now_ms: asked.append(now_ms) or Told())  # type: ignore[func-returns-value]
    one = stage(Broker(), MemoryShards(), clerk=clerk)
    one.forget()
    await one.tick()
    assert asked == []
    one.restored(0, {})
    await one.tick()
    await one.tick()
    assert len(asked) == 1
    Clock.now_ms += DUE_EVERY_MS
    await one.tick()
    assert len(asked) == 2


async def test_a_question_that_was_closed_long_ago_is_forgotten() -> None:
    closed = question(7).model_copy(update={"state": "answered", "asked_at_ms": T0 - FORGET_MS})
    waits = question(8).model_copy(update={"asked_at_ms": T0 - FORGET_MS})
    fresh = question(9).model_copy(update={"state": "withdrawn"})
    seen: list[IdentityState] = []

    def due(state: IdentityState, now_ms: int) -> Told:
        seen.append(state)
        return Told(questions=(closed, waits, fresh)) if len(seen) == 1 else Told()

    broker = Broker()
    one = stage(broker, MemoryShards(), clerk=Clerk(due=due))
    for _ in range(2):
        await one.tick()
        Clock.now_ms += DUE_EVERY_MS
    assert broker.forgotten == [(Topic.QUESTIONS, "q7")]
    assert set(seen[-1].questions) == {"q8", "q9"}


async def test_what_no_desk_takes_is_buried_and_the_next_is_heard() -> None:
    broker = Broker()
    one = stage(broker, MemoryShards())
    for offset, value in enumerate(
        [b"", b"{", b'{"type": "finding"}', b'{"type": ["mark"]}', b'{"type": "mark"}', b"7"]
    ):
        await one.on_record(offset, value)
    dead = [each for each in broker.of(Topic.DEAD) if isinstance(each, DeadLetter)]
    assert [each.offset for each in dead] == [0, 1, 2, 3, 4, 5]
    await one.on_record(6, ASK)
    assert broker.of(Topic.KEYS)


@pytest.mark.parametrize("seq", [10**300, -1])
async def test_what_cannot_be_judged_or_written_down_is_buried_and_holds_nobody_up(seq: int) -> None:
    class Slip(Clerk):
        def take(self, message: Record, state: IdentityState, now_ms: int) -> Told:
            return Told(keys=(key("k3", seq=seq),)) if message.to_bytes() == OTHER else super().take(
                message, state, now_ms
            )  # fmt: skip

    broker = Broker()
    one = stage(broker, MemoryShards(), clerk=Slip())
    await one.on_record(0, OTHER)
    await one.on_record(1, ASK)
    [dead] = [each for each in broker.of(Topic.DEAD) if isinstance(each, DeadLetter)]
    assert (dead.offset, "cannot be judged" in dead.detail) == (0, True)
    assert {getattr(each, "key_id", "") for each in broker.of(Topic.KEYS)} == {KEY, "k2"}


async def test_what_two_desks_bring_of_one_key_are_two_versions_and_none_is_lost() -> None:
    def due(state: IdentityState, now_ms: int) -> Told:
        known = state.registry.entry(KEY)
        return Told(keys=(known.next(at_ms=now_ms, by="keyfuse", change="due"),)) if known and known.seq < 2 else Told()

    broker, journal = Broker(), MemoryShards()
    desks = (Clerk(due), Clerk(due))
    one = IdentityStage(
        desks=lambda: desks, keys=KeysConfig, people=lambda: NOBODY, books=Books(broker.shelf, journal),
        outbox=broker, metrics=Metrics(), now_ms=Clock(),
    )  # fmt: skip
    one.restored(0, {})
    await one.on_record(0, ASK)
    await one.tick()
    assert [each.seq for each in broker.of(Topic.KEYS) if isinstance(each, KeyRecord) and each.key_id == KEY] == [
        0,
        1,
        2,
    ]


async def test_a_word_on_a_question_that_nobody_asked_is_in_the_audit() -> None:
    broker = Broker()
    answer = Answer(question_id="q7", by="ann", choice="yes", at_ms=T0)
    await stage(broker, MemoryShards()).on_record(0, answer.to_bytes())
    [told] = broker.of(Topic.AUDIT)
    assert isinstance(told, AuditRow)
    assert (told.actor, told.result, told.detail["why"]) == ("ann", "refused", "no such question is known")
