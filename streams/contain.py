"""Commands → the providers. Believed when signed, judged one after another by the caps, carried out side by side.

The ledger and each order's last word are stored before the record is acknowledged: a restart runs what was in flight
again, and `execute` reads back before it touches anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from containment.execute import execute
from containment.ladder import approved
from containment.limits import Verdict
from containment.orders import Doubted, Order
from containment.providers.base import Provider
from schemas.config import ResponsesConfig
from schemas.minting import MintOrder
from schemas.records import AuditRow, Command, Outcome, PartitionStats, Request, Step, StepState
from streams.around_cut import AroundCut, Held, cut_before
from streams.checkpoint import ShardStore
from streams.contain_gate import Gate, Trust
from streams.contain_ledger import LedgerKeeper
from streams.contain_mint import Minting, MintRuns
from streams.contain_words import outcome_row
from streams.gates_heard import Gates, NoGates
from streams.metrics import Metrics
from streams.outbox import Outbox
from streams.switch_runs import Backups, Lent, cuts_key
from streams.switch_runs import order_of as _order
from streams.topics import Topic


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
    registered: Callable[[], Collection[str]]
    """key_ids of keys.yaml."""
    trust: Trust
    backups: Backups = field(default_factory=Backups)
    gates: Gates = field(default_factory=NoGates)
    minting: Minting | None = None


class ContainStage:
    """The only stage that changes the world."""

    def __init__(self, deps: ContainDeps) -> None:
        self._deps = deps
        self._gate = Gate(
            deps.trust, store=deps.store, outbox=deps.outbox, metrics=deps.metrics, now_ms=deps.now_ms
        )  # fmt: skip
        self._limits = LedgerKeeper(
            store=deps.store, outbox=deps.outbox, metrics=deps.metrics, now_ms=deps.now_ms, responses=deps.responses,
            freeze_file=deps.freeze_file, registered=deps.registered,
        )  # fmt: skip
        self._mints = MintRuns(
            deps.minting, store=deps.store, outbox=deps.outbox, now_ms=deps.now_ms, sleep=deps.sleep,
            responses=deps.responses,
        )  # fmt: skip
        self._running: set[asyncio.Task[None]] = set()
        self._waiting: dict[str, list[Callable[[], object]]] = {}  # order -> whom to tell that it has ended
        self._one_at_a_time: dict[str, asyncio.Lock] = {}  # by key: a cut and its undoing do not overlap
        self._around = AroundCut(deps, Lent(self._audit, self._conclude, self.frozen, self._one_at_a_time))
        self._broke: BaseException | None = None
        self._forgot = 0

    def on_stats(self, stats: PartitionStats) -> None:
        self._limits.on_stats(stats)

    async def on_record(self, value: bytes, *, done: Callable[[], object]) -> None:
        """A command or a freeze request; `done` acknowledges it, once it has ended."""
        order = self._gate.admit(value, known=self._is_known)
        if isinstance(order, Command):
            await self._take(order, done)
            return
        if isinstance(order, MintOrder):
            self._start(self._mints.run(order, done))
            return
        if isinstance(order, Doubted):
            await self._gate.refuse(order, value)
        else:
            await self._limits.hear(order)
        done()

    async def tick(self) -> None:
        """Raises what broke a command under way, like a broker that is gone: the stage starts again at its record."""
        if self._broke is not None:
            raise self._broke

    def forget(self) -> None:
        """Somebody else may own the commands now: what is under way comes again, to whoever does."""
        for task in self._running:
            task.cancel()
        self._running.clear()
        self._waiting.clear()
        self._limits.forget()
        self._forgot += 1
        self._broke = None

    async def stop(self) -> None:
        """End what is under way, before its providers are closed: it comes again, to whoever owns the commands then."""
        running = list(self._running)
        self.forget()
        await asyncio.gather(*running, return_exceptions=True)

    async def drain(self) -> None:
        """Wait for what is in flight."""
        await asyncio.gather(*self._running, return_exceptions=True)

    def frozen(self) -> bool:
        return self._limits.frozen()

    async def _take(self, command: Command, done: Callable[[], object]) -> None:
        order = _order(command)
        if order in self._waiting:
            self._waiting[order].append(done)  # read again after a rebalance, while it runs
            return
        forgot = self._forgot
        ended = self._last_word(order)
        if ended is not None:
            await self._conclude(order, ended)
            done()
            return
        outcome = None if self._switches(command) else await self._judge(command)
        if forgot != self._forgot:
            return  # judged while the commands went to another owner, who judges it again
        # What has begun may be in effect: before it is called refused, it is looked at.
        barred = outcome if outcome and outcome.state is StepState.REFUSED and self._looks_first(command) else None
        if outcome is not None and barred is None:
            await self._conclude(order, self._around.with_outlook(command, outcome))
            done()
            return
        self._waiting[order] = [done]
        self._start(self._run(command, barred))

    def _start(self, run: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(run)
        self._running.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._broke = task.exception()

    def _is_known(self, order: Order) -> bool:
        if isinstance(order, Request):
            return self._limits.has_heard(order)
        if isinstance(order, MintOrder):
            return self._mints.known(order)
        ended = self._last_word(_order(order)) is not None
        return ended or self._may_show(order) or self._around.begun_for(order)

    def _looks_first(self, command: Command) -> bool:
        return self._may_show(command) and command.facts.provider in self._deps.providers

    def _may_show(self, command: Command) -> bool:
        return self._has_begun(_order(command)) or self._around.told_for(command)

    def _switches(self, command: Command) -> bool:
        """A switch to the backup was begun for this very order: it was let through then, and is not judged again."""
        return self._around.begun_for(command) and command.facts.provider in self._deps.providers

    def _has_begun(self, order: str) -> bool:
        return self._deps.store.get(_pre_key(order)) is not None

    def _last_word(self, order: str) -> Outcome | None:
        """Whatever it was: only a new order, of another time, is judged anew. So an old record does nothing."""
        stored = self._deps.store.get(_outcome_key(order))
        return Outcome.from_bytes(stored) if stored else None

    async def _judge(self, command: Command) -> Outcome | None:
        """None when it may run; else why not."""
        verdict = await self._limits.judge(command)
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

    async def _run(self, command: Command, barred: Outcome | None) -> None:
        async with self._one_at_a_time.setdefault(command.key_id, asyncio.Lock()):
            await self._execute(command, barred)
        for done in self._waiting.pop(_order(command)):
            done()

    async def _execute(self, command: Command, barred: Outcome | None) -> None:
        """To its end; an order that is `barred` only looks how the key stands."""
        deps, pre_key = self._deps, _pre_key(_order(command))
        if command.step == "restore" and not self._has_begun(_order(command)):
            await self._write(pre_key, self._read(_cuts_key(command)))  # a second run has the same to undo
        saved, under_way = self._read(pre_key), barred is not None or self._has_begun(_order(command))
        step = partial(
            execute, command, deps.providers[command.facts.provider],
            pre_state=saved or None, retry=deps.responses().retry, now_ms=deps.now_ms, sleep=deps.sleep,
            save_pre_state=lambda state: self._write(pre_key, state), audit=self._audit,
            frozen=(lambda: True) if barred else self.frozen, undo=saved if command.step == "restore" else None,
            vouched=not command.automatic or command.key_id in deps.registered(),
        )  # fmt: skip
        held = Held(self._held(command), before=command.step == "restore" and cut_before(saved))
        outcome = await self._around.carry_out(command, step, held=held, under_way=under_way)
        if barred and outcome.state is StepState.REFUSED:
            outcome = barred
        await self._remember(command, outcome, self._read(pre_key))
        await self._conclude(_order(command), outcome)

    async def _remember(self, command: Command, outcome: Outcome, pre_state: dict[str, Any]) -> None:
        """What a restore has to undo, and which key is to be left alone for a while."""
        if outcome.state is StepState.IRREVOCABLE:
            await self._limits.failed(command.key_id)
        if command.step == "restore" and (outcome.state is StepState.CONFIRMED or outcome.rule == "nothing_to_undo"):
            await self._write(_confirmed_key(command), {})
        elif command.step != "restore" and outcome.state in (StepState.CONFIRMED, StepState.IRREVOCABLE):
            known = self._read(_confirmed_key(command))
            seen = outcome.state is StepState.CONFIRMED or known.get(command.step) is True
            await self._write(_confirmed_key(command), known | {command.step: seen or _order(command)})
        if command.step == "restore":
            if outcome.state is StepState.CONFIRMED:
                await self._write(_cuts_key(command), {})
        elif pre_state:  # however it ended: it may have happened, and how the key stood first is what to go back to
            cuts = self._read(_cuts_key(command))
            await self._write(_cuts_key(command), cuts if command.step in cuts else {**cuts, command.step: pre_state})

    def _held(self, command: Command) -> dict[Step, bool]:
        """Each step on the key, and whether it was seen in effect; less what this very order left before a restart."""
        known = self._read(_confirmed_key(command))
        return {step: seen is True for step, seen in known.items() if seen != _order(command)}

    def _read(self, key: bytes) -> dict[Any, Any]:
        stored = self._deps.store.get(key)
        found: dict[Any, Any] = orjson.loads(stored) if stored else {}
        return found

    async def _write(self, key: bytes, value: dict[Any, Any]) -> None:
        await self._deps.store.put(0, key, orjson.dumps(value))

    async def _conclude(self, order: str, outcome: Outcome) -> None:
        deps = self._deps
        await self._audit(outcome_row(outcome, now_ms=deps.now_ms()))
        await deps.outbox.send(Topic.OUTCOMES, [(outcome.key_id, outcome)])
        await deps.store.put(0, _outcome_key(order), outcome.to_bytes())
        deps.metrics.inc("keyfuse_commands_total", step=outcome.step, state=outcome.state.value)
        if outcome.seconds_to_effective is not None:
            deps.metrics.observe("keyfuse_command_seconds", outcome.seconds_to_effective)

    async def _audit(self, row: AuditRow) -> None:
        await self._deps.outbox.send(Topic.AUDIT, [(row.key_id, row)])

    def _outcome(self, command: Command, state: StepState, *, rule: str = "", detail: str = "") -> Outcome:
        return Outcome(
            command_id=command.command_id, incident_id=command.incident_id, key_id=command.key_id, step=command.step,
            state=state, at_ms=self._deps.now_ms(), rule=rule, detail=detail,
        )  # fmt: skip


def _pre_key(order: str) -> bytes:
    """How the key stood when the order began; it is written before anything is touched."""
    return f"pre:{order}".encode()


def _outcome_key(order: str) -> bytes:
    return f"outcome:{order}".encode()


def _cuts_key(command: Command) -> bytes:
    return cuts_key(command.key_id)


def _confirmed_key(command: Command) -> bytes:
    """Of each step on a key: true, seen in effect; else the order that failed, and may be. Gates and users go by it."""
    return f"confirmed:{command.key_id}".encode()
