"""Whoever can forge usage events, or leak reports, may want Keyfuse to cut every key, or to be too busy to cut one.

From the columns of a frame to the provider. The forged keys exist, or they are made up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa
import pytest
from pydantic import SecretStr

from alerting.case import KeyCase
from containment.limits import per_10min_cap
from containment.orders import sign
from containment.providers.base import StepsOf
from containment.providers.memory import MemoryProvider
from controls.registry import Registry
from detectors.core import ScoreCore
from schemas.config import BudgetsConfig, DetectorsConfig, KeysConfig, ResponsesConfig
from schemas.config.keys import KeyConfig
from schemas.config.responses import LadderConfig
from schemas.fingerprint import Fingerprinter
from schemas.records import Command, Finding, Incident, KeyFacts, Outcome, PartitionStats, StepState
from sources.leaks import LeakDesk, Taken
from streams.contain import ContainDeps, ContainStage
from streams.decide_core import Decider, Decision, offers
from streams.metrics import Metrics
from streams.topics import Topic
from tests.detectors.build import NOW_S, frame
from tests.streams.world import SIGNER, TRUST, MemoryOutbox, MemoryShards

KEYS, EVENTS, FRAMES, SECONDS = 1_000, 1_000_000, 20, 120
NAMES = tuple(f"key-{number:04d}" for number in range(KEYS))
FIRST_OFFSET = 1_000
OWN = tuple(f"own-{number:03d}" for number in range(60))
"""Keys of the company, of which nothing is forged."""


def forged(number: int) -> pa.RecordBatch:
    """One of the frames: for each key fifty dear requests within six seconds."""
    rows = EVENTS // FRAMES
    [one] = frame([{"ts_s": NOW_S, "key_id": "", "provider": "memory", "cost_usd": 0.1}]).to_struct_array().to_pylist()
    events = np.arange(rows) + number * rows
    offsets = events + FIRST_OFFSET
    own = {
        "raw_offset": pa.array(offsets), "event_hash": pa.array(offsets.astype(np.uint64) * np.uint64(2**40 + 15)),
        "ts_ms": pa.array(NOW_S * 1000 + events * SECONDS * 1000 // EVENTS),
        "key_id": pa.DictionaryArray.from_arrays(pa.array((events % KEYS).astype(np.int32)), list(NAMES)),
    }  # fmt: skip
    schema = frame([]).schema
    columns = [own.get(field.name, pa.repeat(pa.scalar(one[field.name], _plain(field.type)), rows)) for field in schema]
    return pa.RecordBatch.from_arrays(
        [column.cast(field.type) for column, field in zip(columns, schema, strict=True)], schema=schema
    )


def used(keys: Sequence[str], *, at: int, at_s: int, cost_usd: float = 0.001) -> pa.RecordBatch:
    """One request of each key, true or not; `at` is the first raw offset."""
    own = {"ts_s": NOW_S + at_s, "provider": "memory", "cost_usd": cost_usd}
    return frame([{"at": at + number, "key_id": key, **own} for number, key in enumerate(keys)])


def _plain(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


class World:
    """Score, decide and contain in one process, over a provider in memory.

    Args:
        freeze_file: Where it is looked for.
        exist: The keys that the provider knows.
        registered: Those in keys.yaml.
    """

    def __init__(
        self,
        freeze_file: Path,
        *,
        exist: Sequence[str] = NAMES,
        registered: Sequence[str] = (),
        leak_is_certain: bool = False,
    ) -> None:
        self.responses = ResponsesConfig(mode="auto", ladder=LadderConfig(leak_is_certain=leak_is_certain))
        self.provider, self.outbox = MemoryProvider("memory", tuple(exist)), MemoryOutbox()
        registry = Registry(KeysConfig(keys=tuple(KeyConfig(key_id=key, provider="memory") for key in registered)))
        self.core = ScoreCore(DetectorsConfig(), partition=0, facts_of=registry.facts_of)
        self.exist = exist
        steps: dict[str, StepsOf] = {"memory": self.provider.steps_of}
        self.decider = Decider(self.responses, BudgetsConfig(), offers(steps))
        self.cases: dict[str, KeyCase | None] = {}
        self.now_ms = NOW_S * 1000
        self.findings = 0
        self.stage = ContainStage(
            ContainDeps(
                responses=lambda: self.responses, providers={"memory": self.provider}, store=MemoryShards(),
                outbox=self.outbox, metrics=Metrics(), now_ms=lambda: self.now_ms, sleep=self.sleep,
                freeze_file=freeze_file, registered=registry.all_facts, trust=TRUST,
            )
        )  # fmt: skip

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)

    async def take(self, batch: pa.RecordBatch) -> None:
        findings = self.core.process(batch)
        self.now_ms = self.core.clock_s * 1000
        self.stage.on_stats(
            PartitionStats(
                partition=0, at_ms=self.now_ms, clock_s=self.core.clock_s, active_keys=self.core.active_keys(),
                known_keys=self.core.known_keys, active_registered_keys=self.core.active_registered_keys(),
            )
        )  # fmt: skip
        self.findings += len(findings)
        for finding in findings:
            await self.found(finding)

    async def found(self, finding: Finding) -> None:
        for command in self.keep(finding.key_id, self.decider.finding(self.cases.get(finding.key_id), finding)):
            for outcome in await self.contain(command):
                self.keep(
                    outcome.key_id,
                    self.decider.outcome(self.cases[outcome.key_id], outcome, at_ms=finding.at_ms),
                )

    def keep(self, key_id: str, decision: Decision) -> tuple[Command, ...]:
        self.cases[key_id] = decision.case
        return decision.commands

    async def contain(self, command: Command) -> list[Outcome]:
        before = len(self.outbox.of(Topic.OUTCOMES))
        record = sign(command, SIGNER, now_ms=self.now_ms).to_bytes()
        await self.stage.on_record(record, done=lambda: None)
        await self.stage.drain()
        return self.outcomes()[before:]

    def outcomes(self) -> list[Outcome]:
        return [each for each in self.outbox.of(Topic.OUTCOMES) if isinstance(each, Outcome)]

    def pages(self) -> list[Incident]:
        return [each for each in self.outbox.of(Topic.INCIDENTS) if isinstance(each, Incident)]

    async def cut(self) -> set[str]:
        effects = {name: await self.provider.probe("disable", name) for name in self.exist}
        return {name for name, effect in effects.items() if effect is not None and effect.state == "yes"}


async def forge_a_million(world: World) -> None:
    for number in range(FRAMES):
        await world.take(forged(number))
    assert world.core.take_duplicates() == {"replay": 0, "retry": 0}  # every event counted
    # Nothing is hidden from people: each key has its incident, and each that is not cut says why.
    assert all(case is not None and case.incident is not None for case in world.cases.values())
    assert set(NAMES) <= world.cases.keys()


async def test_a_million_forged_events_cut_no_more_than_the_cap_freeze_and_page_once(tmp_path: Path) -> None:
    world = World(tmp_path / "FREEZE", registered=NAMES)
    await forge_a_million(world)
    cut, cap = await world.cut(), per_10min_cap(world.responses.caps, KEYS)
    confirmed = {each.key_id for each in world.outcomes() if each.state is StepState.CONFIRMED}
    refused = {each.rule for each in world.outcomes() if each.state is StepState.REFUSED}
    assert (world.core.known_keys, world.core.active_keys(), cap) == (KEYS, KEYS, 20)
    assert len(cut) == cap  # the attack is felt, and ends here
    assert confirmed == cut
    assert refused == {"per_10min", "freeze"}
    assert world.stage.frozen()
    [page] = world.pages()
    assert (page.severity, page.headline.startswith("Frozen: ")) == ("critical", True)
    # Nothing is hidden from people: each key has its incident, and each that is not cut says why.
    assert all(case is not None and case.incident is not None for case in world.cases.values())
    assert len(world.cases) == KEYS


def reported(names: tuple[str, ...], *, trusted: bool) -> list[Finding]:
    """What becomes of a body that says of each of these keys that it leaked, with the token for reports."""
    facts = KeyFacts(provider="memory", env="prod")
    desk = LeakDesk(
        Fingerprinter(SecretStr("pepper")), registered=lambda name: (name, facts), used=lambda names: {},
        now_ms=lambda: NOW_S * 1000,
    )  # fmt: skip
    body = orjson.dumps([{"key_id": name, "source": "everywhere", "confidence": "high"} for name in names])
    taken = desk.take(body, via="api", trusted=trusted)
    assert isinstance(taken, Taken)
    return taken.findings


@pytest.mark.parametrize(("trusted", "certain"), [(False, False), (False, True), (True, False)])
async def test_who_holds_the_token_for_reports_cuts_nothing_by_reports_alone(
    tmp_path: Path, trusted: bool, certain: bool
) -> None:
    world = World(tmp_path / "FREEZE", leak_is_certain=certain)
    for finding in reported(NAMES, trusted=trusted):
        await world.found(finding)
    assert await world.cut() == set()
    assert all(case is not None and case.incident is not None for case in world.cases.values())


async def test_a_trusted_token_in_the_wrong_hands_cuts_no_more_than_the_cap(tmp_path: Path) -> None:
    world = World(tmp_path / "FREEZE", leak_is_certain=True)
    world.stage.on_stats(
        PartitionStats(partition=0, at_ms=world.now_ms, clock_s=NOW_S, active_keys=KEYS, known_keys=KEYS)
    )
    for finding in reported(NAMES, trusted=True):
        await world.found(finding)
    assert len(await world.cut()) == per_10min_cap(world.responses.caps, KEYS)
    assert {each.rule for each in world.outcomes() if each.state is StepState.REFUSED} == {"per_10min", "freeze"}
    assert world.stage.frozen()
    assert len(world.pages()) == 1


async def test_a_million_forged_events_of_made_up_keys_raise_no_cap_and_do_not_hide_a_theft(tmp_path: Path) -> None:
    """They cost the attacker nothing: no key of them exists, so neither may the caps of those that do be theirs."""
    world = World(tmp_path / "FREEZE", exist=OWN, registered=OWN)
    await world.take(used(OWN, at=0, at_s=0))
    await forge_a_million(world)
    asked_of = {key for _, key in world.provider.calls}
    assert (await world.cut(), len(asked_of)) == (set(), 5)  # the plain number; 2 % of all keys seen would be 21
    refused = {each.rule for each in world.outcomes() if each.state is StepState.REFUSED}
    assert refused == {"unknown_key", "per_10min"}
    assert (world.stage.frozen(), world.pages()) == (False, [])
    await world.take(used(OWN[:1], at=2 * EVENTS, at_s=SECONDS + 1, cost_usd=100.0))
    await world.take(used(OWN, at=3 * EVENTS, at_s=SECONDS + 10))
    assert await world.cut() == {OWN[0]}
