"""Commands → the providers. Judged one after another by the caps, carried out side by side, ended for certain.

The ledger and each command's last word are stored before the record is acknowledged: a restart runs what was in
flight again, and `execute` reads back before it touches anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import orjson

from containment.execute import execute
from containment.ladder import approved
from containment.limits import Ledger, Verdict, failed, freeze, judge, unfreeze
from containment.providers.base import Provider
from schemas.config import ResponsesConfig
from schemas.records import (
    AuditRow,
    Command,
    Incident,
    KeyFacts,
    Outcome,
    PartitionStats,
    Request,
    StepState,
    stable_id,
)
from streams.around_cut import AroundCut
from streams.metrics import Metrics
from streams.outbox import Outbox
from streams.score import ShardStore
from streams.switch_runs import Backups, Lent, cuts_key
from streams.switch_runs import order_of as _order
from streams.topics import Topic

FINAL: Final = frozenset({StepState.CONFIRMED, StepState.IRREVOCABLE, StepState.SUPERSEDED})
_LEDGER: Final = b"ledger"
_INSTALL = "keyfuse"  # the key_id of incidents about Keyfuse itself


@dataclass(frozen=True)
class ContainDeps:
    """What the stage works with."""

    responses: Callable[[], ResponsesConfig]
    providers: Mapping[str, Provider]
    store: ShardStore
    outbox: Outbox
    metrics: Metrics
    now_ms: Callable[[], int]
    sleep: Callable[[float], Awaitable[None]]
    freeze_file: Path
    known_keys: Callable[[], int]
    backups: Backups = field(default_factory=Backups)


class ContainStage:
    """The only stage that changes the world."""

    def __init__(self, deps: ContainDeps) -> None:
        self._deps = deps
        self._stats: dict[int, PartitionStats] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._waiting: dict[str, list[Callable[[], object]]] = {}  # order -> whom to tell that it has ended
        self._one_at_a_time: dict[str, asyncio.Lock] = {}  # by key: a cut and its undoing do not overlap
        self._around = AroundCut(deps, Lent(self._audit, self._conclude, self.frozen, self._one_at_a_time))

    def on_stats(self, stats: PartitionStats) -> None:
        self._stats[stats.partition] = stats

    async def on_record(self, value: bytes, *, done: Callable[[], object]) -> None:
        """A command or a freeze request; `done` acknowledges it, once it has ended."""
        if orjson.loads(value).get("type") == "request":
            await self._freeze(Request.from_bytes(value))
            done()
            return
        command = Command.from_bytes(value)
        order = _order(command)
        if order in self._waiting:
            self._waiting[order].append(done)  # read again after a rebalance, while it runs
            return
        outcome = self._last_word(command)
        if outcome is None and not self._begun(command):
            outcome = await self._judge(command)
        if outcome is not None:
            await self._conclude(order, self._around.with_outlook(command, outcome))
            done()
            return
        self._waiting[order] = [done]
        task = asyncio.create_task(self._run(command))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def drain(self) -> None:
        """Wait for what is in flight."""
        await asyncio.gather(*self._running, return_exceptions=True)

    def frozen(self) -> bool:
        return self._deps.freeze_file.exists() or self._ledger().frozen is not None

    def _begun(self, command: Command) -> bool:
        """Let through before a restart and under way since: it is finished, not judged again."""
        begun = bool(self._read(_pre_key(command))) or self._around.begun_for(command)
        return begun and command.facts.provider in self._deps.providers

    def _last_word(self, command: Command) -> Outcome | None:
        stored = self._deps.store.get(_outcome_key(_order(command)))
        outcome = Outcome.from_bytes(stored) if stored else None
        return outcome if outcome and outcome.state in FINAL else None

    async def _judge(self, command: Command) -> Outcome | None:
        """None when it may run; else why not."""
        now_ms = self._deps.now_ms()
        verdict = judge(
            self._ledger(), command, now_ms=now_ms, known_keys=self._known(), active_keys=self._active(),
            frozen_file=self._deps.freeze_file.exists(), config=self._deps.responses(),
        )  # fmt: skip
        await self._deps.store.put(0, _LEDGER, verdict.ledger.to_bytes())
        if verdict.page:
            await self._page(verdict.page, now_ms)
        self._deps.metrics.set("keyfuse_frozen", int(self.frozen()))
        if command.mode == "observe":
            return self._outcome(command, StepState.DRY_RUN, detail=f"observe mode: would {command.step} this key now")
        if not command.automatic and not approved(command, command.approvals):
            return self._outcome(command, StepState.AWAITING_APPROVAL, detail=command.reason)
        if command.mode == "approve" and not command.approvals:
            return self._outcome(command, StepState.AWAITING_APPROVAL, detail=command.reason)
        return self._refusal(command, verdict)

    def _refusal(self, command: Command, verdict: Verdict) -> Outcome | None:
        if not verdict.allowed:
            return self._outcome(command, StepState.REFUSED, rule=verdict.rule, detail=verdict.reason)
        if command.facts.provider not in self._deps.providers:
            words = f"no provider named {command.facts.provider} in keyfuse.yaml: cut this key at the provider by hand"
            return self._outcome(command, StepState.IRREVOCABLE, rule="no_provider", detail=words)
        return None

    async def _run(self, command: Command) -> None:
        async with self._one_at_a_time.setdefault(command.key_id, asyncio.Lock()):
            await self._execute(command)
        for done in self._waiting.pop(_order(command)):
            done()

    async def _execute(self, command: Command) -> None:
        deps = self._deps
        pre_key = _pre_key(command)
        step = partial(
            execute, command, deps.providers[command.facts.provider],
            pre_state=self._read(pre_key) or None, retry=deps.responses().retry, now_ms=deps.now_ms, sleep=deps.sleep,
            save_pre_state=lambda state: self._write(pre_key, state), audit=self._audit, frozen=self.frozen,
            undo=self._read(_cuts_key(command)),
        )  # fmt: skip
        cuts, under_way = self._read(_cuts_key(command)), bool(self._read(pre_key))
        outcome = await self._around.carry_out(command, step, cuts=cuts, under_way=under_way)
        await self._remember(command, outcome, self._read(pre_key))
        await self._conclude(_order(command), outcome)

    async def _remember(self, command: Command, outcome: Outcome, pre_state: dict[str, Any]) -> None:
        """What a restore has to undo, and which key is to be left alone for a while."""
        if outcome.state is StepState.IRREVOCABLE:
            now_ms, config = self._deps.now_ms(), self._deps.responses()
            ledger = failed(self._ledger(), command.key_id, now_ms=now_ms, config=config)
            await self._deps.store.put(0, _LEDGER, ledger.to_bytes())
        elif outcome.state is StepState.CONFIRMED:
            cuts = {} if command.step == "restore" else self._read(_cuts_key(command)) | {command.step: pre_state}
            await self._write(_cuts_key(command), cuts)

    def _read(self, key: bytes) -> dict[Any, Any]:
        stored = self._deps.store.get(key)
        found: dict[Any, Any] = orjson.loads(stored) if stored else {}
        return found

    async def _write(self, key: bytes, value: dict[Any, Any]) -> None:
        await self._deps.store.put(0, key, orjson.dumps(value))

    async def _conclude(self, order: str, outcome: Outcome) -> None:
        deps = self._deps
        await self._audit(_audit_row(outcome, deps.now_ms()))
        await deps.outbox.send(Topic.OUTCOMES, [(outcome.key_id, outcome)])
        await deps.store.put(0, _outcome_key(order), outcome.to_bytes())
        deps.metrics.inc("keyfuse_commands_total", step=outcome.step, state=outcome.state.value)
        if outcome.seconds_to_effective is not None:
            deps.metrics.observe("keyfuse_command_seconds", outcome.seconds_to_effective)

    async def _freeze(self, request: Request) -> None:
        now_ms = self._deps.now_ms()
        ledger = self._ledger()
        ledger = (
            freeze(ledger, request.reason, by=request.by, now_ms=now_ms)
            if request.action == "freeze"
            else unfreeze(ledger)
        )
        await self._deps.store.put(0, _LEDGER, ledger.to_bytes())
        self._deps.metrics.set("keyfuse_frozen", int(self.frozen()))
        await self._audit(
            AuditRow(
                audit_id=stable_id("aud", request.request_id),
                at_ms=now_ms,
                actor=request.by,
                action=request.action,
                key_id="",
                incident_id="",
                command_id="",
                result="done",
                detail={"reason": request.reason},
            )
        )

    async def _audit(self, row: AuditRow) -> None:
        await self._deps.outbox.send(Topic.AUDIT, [(row.key_id, row)])

    async def _page(self, words: str, now_ms: int) -> None:
        incident = Incident(
            incident_id=stable_id("inc", _INSTALL, words, now_ms // 600_000), seq=1, key_id=_INSTALL, state="open",
            severity="critical", families=("policy",), headline=words, opened_at_ms=now_ms, updated_at_ms=now_ms,
            last_finding_at_ms=now_ms, findings=1, usd_per_min=0, expected_usd_per_min=0, lost_usd=0,
            acceptable_loss_usd=0, mode="observe", facts=KeyFacts(provider=_INSTALL), transition=words,
        )  # fmt: skip
        await self._deps.outbox.send(Topic.INCIDENTS, [(_INSTALL, incident)])

    def _outcome(self, command: Command, state: StepState, *, rule: str = "", detail: str = "") -> Outcome:
        return Outcome(
            command_id=command.command_id, incident_id=command.incident_id, key_id=command.key_id, step=command.step,
            state=state, at_ms=self._deps.now_ms(), rule=rule, detail=detail,
        )  # fmt: skip

    def _ledger(self) -> Ledger:
        stored = self._deps.store.get(_LEDGER)
        return Ledger.from_bytes(stored) if stored else Ledger()

    def _known(self) -> int:
        return max(self._deps.known_keys(), sum(stats.known_keys for stats in self._stats.values()))

    def _active(self) -> int:
        return sum(stats.active_keys for stats in self._stats.values())


def _pre_key(command: Command) -> bytes:
    """How the key stood before this order touched it."""
    return f"pre:{_order(command)}".encode()


def _outcome_key(order: str) -> bytes:
    return f"outcome:{order}".encode()


def _cuts_key(command: Command) -> bytes:
    return cuts_key(command.key_id)


def _audit_row(outcome: Outcome, now_ms: int) -> AuditRow:
    detail: dict[str, Any] = {"rule": outcome.rule, "words": outcome.detail, "attempts": outcome.attempts}
    return AuditRow(
        audit_id=stable_id("aud", outcome.command_id, outcome.state, outcome.at_ms), at_ms=now_ms, actor="keyfuse",
        action=outcome.step, key_id=outcome.key_id, incident_id=outcome.incident_id, command_id=outcome.command_id,
        result=outcome.state.value, detail=detail,
    )  # fmt: skip
