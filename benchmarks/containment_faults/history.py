"""One history: a hundred orders, a provider in bad weather, a contain worker that dies, and what became of it all."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from benchmarks.containment_faults.life import Life, Shards, Told
from benchmarks.containment_faults.luck import Luck
from benchmarks.containment_faults.orders import KEYS, SIGNER, Placed, Plan, plan_for
from benchmarks.containment_faults.provider import ORDER, FaultyProvider
from benchmarks.containment_faults.seen import Seen
from benchmarks.containment_faults.virtual import VirtualLoop
from containment.orders import sign
from schemas.config import ResponsesConfig
from schemas.config.responses import CapsConfig
from schemas.records import Command, PartitionStats, Request
from streams.acks import Acks
from streams.contain import ContainDeps, ContainStage
from streams.contain_gate import Trust
from streams.errors import Overtaken
from streams.metrics import Metrics

RESPONSES: Final = ResponsesConfig(mode="auto", caps=CapsConfig(per_day_share=0.6, freeze_share=0.25))
TRUST: Final = Trust(frozenset({SIGNER.public_key}))
NO_FREEZE_FILE: Final = Path("/nonexistent/keyfuse/FREEZE")
TICK_S: Final = 5.0
MOST_LIVES: Final = 1_000
CALM_AFTER_LIVES: Final = 200  # who dies after every few records for ever never gets through them


@dataclass
class History(Seen):
    """The world around the stage: who orders, the topic, and one process after the other."""

    lives: int = 0
    rereads: int = 0
    forged: int = 0
    handled: int = 0
    records: list[tuple[str, bytes]] = field(default_factory=list)
    committed: int = 0
    chains: int = 0
    _more: asyncio.Event = field(default_factory=asyncio.Event)
    _over: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Returns when every order has been handled and the last late effect has come."""
        self.provider.began = self._began
        self.chains = len(self.plan.chains) + 1
        work = [asyncio.create_task(self._chain(chain)) for chain in self.plan.chains]
        work.append(asyncio.create_task(self._freezes()))
        while not self._over.is_set():
            if self.lives == MOST_LIVES:
                self.wrong.append(f"not over after {MOST_LIVES} lives of the worker")
                for task in work:
                    task.cancel()
                break
            await self._live()
        await asyncio.gather(*work, return_exceptions=True)
        await asyncio.sleep(60)

    async def _live(self) -> None:
        """One process from its start to its death, and the time until the next one."""
        self.lives += 1
        rng = random.Random(f"{self.seed}/life {self.lives}")
        life = Life(rng, self.luck.die_share if self.lives < CALM_AFTER_LIVES else 0.0)
        if self._stage is None or rng.random() < 0.7:  # else it only loses its partition, and gets it back
            self._stage = self._new_stage(life)
        stage, over = self._stage, asyncio.create_task(self._over.wait())
        stats = dict.fromkeys(("active_keys", "known_keys", "active_registered_keys"), len(KEYS))
        stage.on_stats(PartitionStats(partition=0, at_ms=self.now_ms(), clock_s=0, **stats))
        tasks = [asyncio.create_task(self._read(stage, life)), asyncio.create_task(self._tick(stage)), over,
                 asyncio.create_task(life.died.wait())]  # fmt: skip
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            if task.exception() is not None and not isinstance(task.exception(), ConnectionError | Overtaken):
                self.wrong.append(f"the stage broke: {task.exception()!r}")
        life.end()
        stage.forget()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if not self._over.is_set():
            self.committed = max(0, self.committed - rng.randrange(4))  # acknowledged, and the broker never learned
            self._stage = self._stage if not life.died.is_set() else None
            await asyncio.sleep(rng.choices([rng.uniform(1, 60), rng.uniform(600, 1200), 5400], [0.9, 0.09, 0.01])[0])

    def _new_stage(self, life: Life) -> ContainStage:
        async def sleep(seconds: float) -> None:
            await life.edge()
            await asyncio.sleep(seconds)
            await life.edge()

        store = Shards(life, self.values, self.luck.broker_trouble, self.luck.broker_s)
        return ContainStage(
            ContainDeps(
                responses=lambda: RESPONSES, providers={"faulty": self.provider}, store=store,
                outbox=Told(life, self._hear),
                metrics=Metrics(), now_ms=self.now_ms, sleep=sleep, freeze_file=NO_FREEZE_FILE,
                registered=lambda: KEYS, trust=TRUST,
            )
        )  # fmt: skip

    async def _read(self, stage: ContainStage, life: Life) -> None:
        """As the stage's Faust app does it: from the last commit, in order, and committed up to what has not ended."""
        acks, at = Acks(), self.committed
        while True:
            while at >= len(self.records):
                self._more.clear()
                await self._more.wait()
            order, value = self.records[at]
            self.rereads += at < self.handled
            self.handled = max(self.handled, at + 1)
            acks.came(at)
            ORDER.set(order)
            self.judged_s[order] = self._loop().time()
            self._heard(order, at, before=True)
            await stage.on_record(value, done=self._done(acks, at, life))
            self._heard(order, at, before=False)
            at += 1

    def _done(self, acks: Acks, at: int, life: Life) -> Callable[[], None]:
        def done() -> None:
            if life.alive:
                self.committed = max(self.committed, acks.ended(at))
                self._is_it_over()

        return done

    async def _tick(self, stage: ContainStage) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            await stage.tick()

    async def _chain(self, chain: Callable[[Callable[[Command], Awaitable[None]]], Awaitable[None]]) -> None:
        await chain(self._place)
        self.chains -= 1
        self._is_it_over()

    async def _place(self, command: Command) -> None:
        """Ordered, sometimes twice, sometimes with a forged one beside it; returns when somebody was told its end."""
        order, rng = f"{command.command_id}@{command.at_ms}", random.Random(f"{self.seed}/{command.command_id}")
        self._ends[order] = asyncio.Event()
        self.placed[order] = Placed(self._loop().time(), command)
        self._newest[command.key_id] = order
        if rng.random() < 0.05:
            self._forge(command, rng)
        self._append(order, sign(command, SIGNER, now_ms=self.now_ms()).to_bytes())
        if rng.random() < 0.15:
            again = sign(command, SIGNER, now_ms=self.now_ms() + 1).to_bytes()
            self.chains += 1
            self._loop().call_later(rng.choice([0, 1, 60, 1200]), self._append_last, order, again)
        await self._ends[order].wait()

    def _forge(self, command: Command, rng: random.Random) -> None:
        self.forged += 1
        other = command.model_copy(update={"step": rng.choice(["revoke", "restore"]), "by": "mallory"})
        signed = sign(command, SIGNER, now_ms=self.now_ms())
        changed = signed.model_copy(update={"step": "revoke", "approvals": ("mallory", "eve")})
        self._append("forged", rng.choice([other.to_bytes(), changed.to_bytes(), b"\x00nonsense"]))

    def _append(self, order: str, value: bytes) -> None:
        self.records.append((order, value))
        self._more.set()

    def _append_last(self, order: str, value: bytes) -> None:
        self._append(order, value)
        self.chains -= 1

    async def _freezes(self) -> None:
        """People freeze now and then and lift it soon after; or they only lift what Keyfuse froze."""
        rng = random.Random(f"{self.seed}/freezes")
        words: list[tuple[Literal["freeze", "unfreeze"], float]] = [("unfreeze", 1800.0)] * 6
        if rng.random() < 0.5:
            words = [("freeze", rng.uniform(60, 1200)), ("unfreeze", rng.uniform(20, 300))] * 8
        for number, (action, wait_s) in enumerate(words):
            await asyncio.sleep(wait_s)
            request = Request(request_id=f"{action}-{number}", at_ms=self.now_ms(), by="ann", action=action)
            self._append(f"{action} {number}", sign(request, SIGNER, now_ms=self.now_ms()).to_bytes())
        self.chains -= 1
        self._is_it_over()

    def _is_it_over(self) -> None:
        if self.chains == 0 and self.committed == len(self.records):
            self._over.set()


def play(seed: int, *, orders: int = 100) -> History:
    """The history of this seed: the same each time, however long ago."""
    name = str(seed)
    luck, plan = Luck.of(random.Random(f"{name}/luck")), plan_for(name, orders)
    provider = FaultyProvider("faulty", name, luck.weather, frozenset(KEYS), faults=Counter())
    for key in KEYS:
        provider.past[key] = [(-1.0, plan.first[key])]
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        history = runner.run(_played(name, provider, plan, luck))
    return history


async def _played(name: str, provider: FaultyProvider, plan: Plan, luck: Luck) -> History:
    history = History(name, provider, plan, luck)
    await history.run()
    return history
