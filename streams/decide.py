"""Findings, outcomes and people's requests → incidents and commands. One case per key, kept in a changelog.

Effects go out before the case is stored, and the record is acknowledged last. A crash in between repeats the
effects with the same ids; every reader of them drops what it has seen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

import orjson
from pydantic import ValidationError

from alerting.case import KeyCase
from containment.orders import sign
from schemas.records import CLOSED, TOLD, DeadLetter, DeadReason, Finding, Outcome, PartitionStats, Record, Request
from schemas.signing import Signer
from streams.checkpoint import ShardStore
from streams.decide_core import Decider, Decision
from streams.errors import Overtaken
from streams.metrics import Metrics
from streams.outbox import Outbox
from streams.topics import Topic

Message = Finding | Outcome | Request
_SETTLED_TICKS: Final = 10  # without a record, until a partition of which nothing is known counts as read to its end
_TYPES: Final[dict[str, type[Finding | Outcome | Request]]] = {
    "finding": Finding,
    "outcome": Outcome,
    "request": Request,
}


def parse_message(value: bytes) -> Message:
    """The record by its `type`; ValueError when it is none of ours."""
    try:
        kind = orjson.loads(value).get("type")
        return _TYPES[kind].from_bytes(value)
    except (ValidationError, KeyError, AttributeError, orjson.JSONDecodeError) as error:
        raise ValueError(f"not a finding, outcome or request: {type(error).__name__}") from error


class DecideStage:
    """All partitions of one worker."""

    def __init__(
        self, *, decider: Callable[[], Decider], store: ShardStore, outbox: Outbox, metrics: Metrics, signer: Signer,
        now_ms: Callable[[], int],
    ) -> None:  # fmt: skip
        """`signer` makes the contain stage believe the orders; `now_ms` is the wall clock that they are dated by."""
        self._signer, self._now_ms = signer, now_ms
        self._decider = decider
        self._store = store
        self._outbox = outbox
        self._metrics = metrics
        self._clock_ms: dict[int, int] = {}  # by partition: event time up to which every finding has been read
        self._stats: dict[int, PartitionStats] = {}
        self._read: dict[int, int] = {}  # by partition: offset after the newest finding read
        self._quiet_ticks: dict[int, int] = {}
        self._open: dict[str, int] = {}  # key_id -> partition, of incidents that silence may end
        self._turn = asyncio.Lock()  # a record and silence must not both start from the same case
        self._owned = 0  # counts how often the cases were given up; they may be somebody else's since

    def drop(self) -> None:
        self._owned += 1
        self._open.clear()
        self._read.clear()
        self._quiet_ticks.clear()

    def restored(self, partition: int, values: Mapping[bytes, bytes]) -> None:
        """After a restart: which incidents are open."""
        for value in values.values():
            case = KeyCase.from_bytes(value)
            self._remember(case.key_id, partition, case)

    async def on_record(self, topic: str, partition: int, offset: int, value: bytes, *, now_ms: int) -> None:
        """One record, to its end."""
        self._quiet_ticks[partition], owned = 0, self._owned
        async with self._turn:
            if owned != self._owned:
                raise Overtaken("the partition has gone to another owner meanwhile: the record comes again")
            await self._on_record(topic, partition, offset, value, owned, now_ms=now_ms)
            if topic.endswith(Topic.FINDINGS):
                self._read[partition] = offset + 1

    async def _on_record(
        self, topic: str, partition: int, offset: int, value: bytes, owned: int, *, now_ms: int
    ) -> None:
        try:
            message = parse_message(value)
        except ValueError as error:
            dead = DeadLetter(
                topic=topic, partition=partition, offset=offset, index=-1, reason=DeadReason.BAD_RECORD,
                detail=str(error), bytes=len(value), at_ms=now_ms,
            )  # fmt: skip
            await self._outbox.send(Topic.DEAD, [(topic, dead)])
            self._metrics.inc("keyfuse_dead_letters_total", reason=dead.reason.value)
            return
        case = self._case(message.key_id)
        await self._carry_out(message.key_id, partition, case, self._decide(case, message, partition), owned)

    def on_stats(self, stats: PartitionStats) -> None:
        """The score stage tells how far event time is."""
        before = self._stats.get(stats.partition)
        if before is None or before.findings_end != stats.findings_end:
            self._quiet_ticks[stats.partition] = 0  # new findings are on their way
        self._stats[stats.partition] = stats

    async def tick(self) -> None:
        """End the incidents that event time has left behind.

        The score stage may be hours of event time ahead of this one: its clock counts only when all findings that it
        told before are read. Until then the findings' own times are the clock, for they come in order.
        """
        for partition, stats in self._stats.items():
            self._quiet_ticks[partition] = self._quiet_ticks.get(partition, 0) + 1
            if self._all_read(stats):
                self._advance(partition, stats.clock_s * 1000)
        owned = self._owned
        for key_id, partition in list(self._open.items()):
            async with self._turn:
                if owned != self._owned:
                    return
                case = self._case(key_id)
                decision = self._decider().silence(case, self._clock_ms.get(partition, 0))
                await self._carry_out(key_id, partition, case, decision, owned)

    def _all_read(self, stats: PartitionStats) -> bool:
        read = self._read.get(stats.partition)
        if read is None or stats.findings_end is None:  # one of the two has just started
            return self._quiet_ticks[stats.partition] > _SETTLED_TICKS
        return read >= stats.findings_end

    def _advance(self, partition: int, clock_ms: int) -> None:
        self._clock_ms[partition] = max(self._clock_ms.get(partition, 0), clock_ms)

    def _decide(self, case: KeyCase | None, message: Message, partition: int) -> Decision:
        decider = self._decider()
        if isinstance(message, Finding):
            if message.family not in TOLD:
                self._advance(partition, message.at_ms)
            return decider.finding(case, message)
        if isinstance(message, Outcome):
            at_ms = max(self._clock_ms.get(partition, 0), _effective_ms(case, message))
            return decider.outcome(case, message, at_ms=at_ms)
        return decider.request(case, message)

    async def _carry_out(
        self, key_id: str, partition: int, before: KeyCase | None, decision: Decision, owned: int
    ) -> None:
        await self._outbox.send(Topic.INCIDENTS, [(key_id, incident) for incident in decision.incidents])
        await self._order(decision)
        await self._outbox.send(Topic.MARKS, [(mark.mark_id, mark) for mark in decision.marks])
        await self._outbox.send(Topic.AUDIT, [(row.key_id, row) for row in decision.audit])
        if owned != self._owned:
            raise Overtaken("the partition was given up meanwhile: another owner may know more of the case")
        if decision.case is not None and decision.case != before:
            await self._store.put(partition, _key(key_id), decision.case.to_bytes())
        for incident in decision.incidents:
            self._metrics.inc("keyfuse_incidents_total", state=incident.state)
        for command in decision.commands:
            self._metrics.inc("keyfuse_commands_total", step=command.step, state="requested")
        self._remember(key_id, partition, decision.case)

    async def _order(self, decision: Decision) -> None:
        """Signed here and nowhere else: what a crash sends again differs in its date alone."""
        now_ms = self._now_ms()
        orders: list[tuple[str, Record]] = [
            (command.key_id, sign(command, self._signer, now_ms=now_ms)) for command in decision.commands
        ]
        if decision.passed_on is not None:
            orders.append(("", sign(decision.passed_on, self._signer, now_ms=now_ms)))
        await self._outbox.send(Topic.COMMANDS, orders)

    def _remember(self, key_id: str, partition: int, case: KeyCase | None) -> None:
        if case and case.incident and case.incident.state not in CLOSED:
            self._open[key_id] = partition
        else:
            self._open.pop(key_id, None)
        self._metrics.set("keyfuse_incidents_open", len(self._open))

    def _case(self, key_id: str) -> KeyCase | None:
        data = self._store.get(_key(key_id))
        return KeyCase.from_bytes(data) if data is not None else None


def _effective_ms(case: KeyCase | None, outcome: Outcome) -> int:
    """When it took effect in event time: the order's own time and what it took. The outcome's clock is the wall's."""
    incident = case.incident if case else None
    if incident is None:
        return 0
    ordered = [step.at_ms for step in incident.steps if step.command_id == outcome.command_id]
    took_ms = int((outcome.seconds_to_effective or 0) * 1000)
    return max([incident.updated_at_ms, *(at_ms + took_ms for at_ms in ordered)])


def _key(key_id: str) -> bytes:
    return f"case:{key_id}".encode()
