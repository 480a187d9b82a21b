"""What people ask of keys → keys, questions to people, audit. One reader over all keys; desks judge, this carries out.

What follows from a message is written down as one record before any of it is sent. After a crash it is sent again from
there, the same to the byte, so that a message has all of its effects or none, however many keys it touches.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol, get_args

import orjson
import structlog
from pydantic import ValidationError

from controls.desks import IdentityDesk, IdentityState, Told, desk_of
from controls.people import People
from controls.registry import Registry
from schemas.config.keys import KeysConfig
from schemas.exception import PolicyException
from schemas.follow_up import FollowUp
from schemas.key_record import KeyRecord, LifeState
from schemas.minting import MintOrder
from schemas.question import Answer, Question
from schemas.records import AuditRow, DeadLetter, DeadReason, Finding, Mark, Record, Request, stable_id
from streams.checkpoint import ShardStore
from streams.errors import Overtaken
from streams.metrics import Metrics
from streams.outbox import Outbox
from streams.topics import Topic

DUE_EVERY_MS: Final = 5_000
SHOWN_EVERY_MS: Final = 30_000
FORGET_MS: Final = 180 * 86_400_000
_FORGET_MOST: Final = 500
_JOURNAL: Final = b"journal"
_REMEMBERED: Final = 256  # messages; more than come between two commits of the reader
log = structlog.get_logger()


class Shelf(Protocol):
    """A compacted topic of one partition, as `streams/changelog.py` has it."""

    def drop(self) -> None: ...

    async def load(self, partition: int) -> None: ...

    def items(self, partition: int) -> dict[bytes, bytes]: ...


class Books(NamedTuple):
    """What outlives the process: `shelf` opens a topic of HELD to be read; the journal has what is under way."""

    shelf: Callable[[Topic], Shelf]
    journal: ShardStore


class Lane(NamedTuple):
    """Where the records of one field of `Told` go, and under which of their names."""

    field: str
    topic: Topic
    record: type[Record]
    key: str


LANES: Final = (
    Lane("keys", Topic.KEYS, KeyRecord, "key_id"),  # gates wait for these
    Lane("exceptions", Topic.EXCEPTIONS, PolicyException, "exception_id"),
    Lane("audit", Topic.AUDIT, AuditRow, "audit_id"),
    Lane("requests", Topic.REQUESTS, Request, "key_id"),
    Lane("findings", Topic.FINDINGS, Finding, "key_id"),
    Lane("marks", Topic.MARKS, Mark, "mark_id"),
    Lane("follow_ups", Topic.FOLLOW_UPS, FollowUp, "follow_up_id"),
    Lane("questions", Topic.QUESTIONS, Question, "question_id"),
    Lane("orders", Topic.COMMANDS, MintOrder, "key_id"),
)
_KEPT: Final = (Topic.KEYS, Topic.EXCEPTIONS, Topic.QUESTIONS, Topic.FOLLOW_UPS)
HELD: Final = tuple(lane for lane in LANES if lane.topic in _KEPT)
"""What the state is made of at the start."""


class IdentityStage:
    """The one reader of `keyfuse.key-asks`."""

    def __init__(
        self, *, desks: Callable[[], Sequence[IdentityDesk]], keys: Callable[[], KeysConfig],
        people: Callable[[], People], books: Books, outbox: Outbox, metrics: Metrics, now_ms: Callable[[], int],
        sign: Callable[[MintOrder], MintOrder] = lambda order: order,
    ) -> None:  # fmt: skip
        """`desks`, `keys` and `people` tell what is in force; `sign` makes the contain stage believe an order."""
        self._sign = sign
        self._desks, self._keys, self._people = desks, keys, people
        self._shelf, self._journal = books
        self._outbox, self._metrics, self._now_ms = outbox, metrics, now_ms
        self._state: IdentityState | None = None
        self._config: KeysConfig | None = None
        self._handled: dict[str, None] = {}  # the newest messages whose effects are written down, oldest first
        self._due_ms = self._shown_ms = 0
        self._turn = asyncio.Lock()
        self._mine = False  # a second worker waits, and does nothing meanwhile
        self._owned = 0  # counts how often the topic was given up; it may be somebody else's since

    def forget(self) -> None:
        self._owned += 1
        self._mine, self._state = False, None

    def restored(self, _partition: int, _values: Mapping[bytes, bytes]) -> None:
        """The topic is this worker's from now on."""
        self._mine = True

    async def on_record(self, offset: int, value: bytes) -> None:
        """One message, to its end."""
        owned = self._owned
        async with self._turn:
            if owned != self._owned:
                raise Overtaken("the partition has gone to another owner meanwhile: the record comes again")
            state, name = await self._current(), stable_id("ask", offset, value.hex())
            if name not in self._handled:
                await self._take(state, name, offset, value)

    async def tick(self) -> None:
        """What the hour brings, every few seconds."""
        async with self._turn:
            now_ms = self._now_ms()
            if not self._mine or 0 <= now_ms - self._due_ms < DUE_EVERY_MS:
                return
            self._due_ms, state = now_ms, await self._current()
            for desk in self._desks():  # each sees what the one before did: a key gets one next version, not two
                await self._carry_out(state, desk.due(state, now_ms))
            await self._forget(state, now_ms)
            self._show(state)

    async def _take(self, state: IdentityState, name: str, offset: int, value: bytes) -> None:
        desks = self._desks()
        try:
            message = _parse(value, desks)
        except ValueError as error:
            await self._bury(offset, value, str(error))
            return
        desk, now_ms = desk_of(desks, message, state), self._now_ms()
        try:
            told = desk.take(message, state, now_ms) if desk is not None else _unheard(message, now_ms)
            _rows_of(told)
        except Exception as error:  # it would come again for ever, and nothing behind it would be judged
            log.exception("cannot be judged; it counts for nothing", offset=offset)
            await self._bury(offset, value, f"cannot be judged: {type(error).__name__}: {error}")
            return
        self._handled[name] = None
        while len(self._handled) > _REMEMBERED:
            del self._handled[next(iter(self._handled))]
        await self._carry_out(state, told)
        self._metrics.inc("keyfuse_key_asks_total", result="taken" if told else "nothing_new")

    async def _carry_out(self, state: IdentityState, told: Told) -> None:
        if told:
            await self._write_down(told)
            await self._send(told)
            state.take(told)
            await self._write_down(Told())

    async def _forget(self, state: IdentityState, now_ms: int) -> None:
        """Questions that nobody has to answer any more, after a while; the audit keeps who answered what."""
        over = [
            name for name, question in state.questions.items()
            if question.state != "open" and now_ms - question.asked_at_ms > FORGET_MS
        ][:_FORGET_MOST]  # fmt: skip
        if over:
            await self._outbox.forget(Topic.QUESTIONS, over)
            for name in over:
                del state.questions[name]

    async def _write_down(self, told: Told) -> None:
        handled = orjson.dumps(list(self._handled))
        await self._journal.put(0, _JOURNAL, b'{"handled":%b,"told":%b}' % (handled, _rows_of(told)))

    async def _send(self, told: Told) -> None:
        for lane in LANES:
            records: Sequence[Record] = getattr(told, lane.field)
            if lane.field == "orders":
                records = [self._sign(order) for order in told.orders]
            if records:
                await self._outbox.send(lane.topic, [(str(getattr(one, lane.key)), one) for one in records])

    async def _current(self) -> IdentityState:
        """The state, under the configuration as it is now."""
        config = self._keys()
        if self._state is None:
            self._state = await self._restore(config)
        elif config is not self._config:
            self._state.registry = Registry(config, self._state.registry.records())
        self._config, self._state.people = config, self._people()
        return self._state

    async def _restore(self, config: KeysConfig) -> IdentityState:
        found: dict[str, Any] = {}
        for lane in HELD:
            found[lane.field] = await self._read(lane)
        state = IdentityState(Registry(config))
        state.take(Told(**found))
        written = self._journal.get(_JOURNAL)
        journal = orjson.loads(written) if written else {"handled": [], "told": {}}
        unfinished = _told_of(journal["told"])
        await self._send(unfinished)
        state.take(unfinished)
        self._handled = dict.fromkeys(journal["handled"])
        return state

    async def _read(self, lane: Lane) -> tuple[Record, ...]:
        shelf = self._shelf(lane.topic)
        await shelf.load(0)
        records = []
        for value in shelf.items(0).values():
            try:
                if value:
                    records.append(lane.record.from_bytes(value))
            except ValidationError:
                log.warning("unreadable; it counts for nothing", topic=lane.topic.value, bytes=len(value))
        shelf.drop()
        return tuple(records)

    async def _bury(self, offset: int, value: bytes, why: str) -> None:
        dead = DeadLetter(
            topic=Topic.KEY_ASKS, partition=0, offset=offset, index=-1, reason=DeadReason.BAD_RECORD, detail=why,
            bytes=len(value), at_ms=self._now_ms(),
        )  # fmt: skip
        await self._outbox.send(Topic.DEAD, [(Topic.KEY_ASKS, dead)])
        self._metrics.inc("keyfuse_dead_letters_total", reason=dead.reason.value)
        self._metrics.inc("keyfuse_key_asks_total", result="unreadable")

    def _show(self, state: IdentityState) -> None:
        states = Counter(entry.state for entry in state.registry.entries().values())
        for name in get_args(LifeState):
            self._metrics.set("keyfuse_keys_by_state", states[name], state=name)
        waiting = sum(question.state == "open" for question in state.questions.values())
        self._metrics.set("keyfuse_questions_open", waiting)


def _rows_of(told: Told) -> bytes:
    """As it is written down. Raises TypeError for what no record may hold, like a time beyond all dates."""
    return orjson.dumps({
        lane.field: [one.model_dump(mode="json") for one in getattr(told, lane.field)] for lane in LANES
    })  # fmt: skip


def _told_of(rows: Mapping[str, list[Any]]) -> Told:
    """As it was written down. A field that this version does not know is left out."""
    found: dict[str, Any] = {
        lane.field: tuple(lane.record.from_bytes(orjson.dumps(row)) for row in rows.get(lane.field, []))
        for lane in LANES
    }  # fmt: skip
    return Told(**found)


def _parse(value: bytes, desks: Sequence[IdentityDesk]) -> Record:
    """The message by its `type`; ValueError when no desk takes it."""
    kinds: dict[str, type[Record]] = {"answer": Answer} | {k: v for desk in desks for k, v in desk.takes.items()}
    try:
        return kinds[orjson.loads(value)["type"]].from_bytes(value)
    except (ValidationError, KeyError, TypeError, orjson.JSONDecodeError) as error:
        raise ValueError(f"nothing that is asked of keys: {type(error).__name__}") from error


def _unheard(message: Record, now_ms: int) -> Told:
    """A word on a question that nobody asked is in the audit all the same."""
    if not isinstance(message, Answer):
        return Told()
    row = AuditRow(
        audit_id=stable_id("aud", "answer", message.question_id, message.by, message.choice, message.at_ms),
        at_ms=now_ms, actor=message.by, action="answer", key_id="", incident_id="", command_id="", result="refused",
        detail={"question": message.question_id, "choice": message.choice, "why": "no such question is known"},
    )  # fmt: skip
    return Told(audit=(row,))
