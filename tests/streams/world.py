"""What the stages' tests share: fakes of the edges, and a few records."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping

from containment.providers.base import Scope, StepSpec
from schemas.config import BudgetsConfig, ResponsesConfig
from schemas.config.responses import LadderConfig
from schemas.records import Command, Finding, KeyFacts, Outcome, Record, Request, Step, StepState, stable_id
from schemas.signing import Signer, private_key_from
from streams.contain_gate import Trust
from streams.decide_core import Decider
from streams.outbox import Outbox
from streams.topics import Topic

KEY = "fp1:0123456789abcdef0123456789abcdef"
FACTS = KeyFacts(provider="memory", team="search", app="ranker", env="prod")
T0 = 1_795_428_000_000
SIGNER = Signer(private_key_from(b"d" * 32))
TRUST = Trust(frozenset({SIGNER.public_key}))
STEPS: dict[Step, bool] = {"throttle": True, "disable": True, "revoke": False}


def specs(steps: Mapping[Step, bool], **scopes: Scope) -> dict[Step, StepSpec]:
    """Steps by whether each can be undone; they reach no further than the key unless said."""
    return {step: StepSpec(undo, scopes.get(step, "key"), 1, f"{step} stops it") for step, undo in steps.items()}


class MemoryShards:
    """A changelog in memory; `crash_after` writes it fails, as one that dies does; `slow`: others run meanwhile."""

    def __init__(self) -> None:
        self.values: dict[bytes, bytes] = {}
        self.crash_after: int | None = None
        self.slow = False

    def get(self, key: bytes) -> bytes | None:
        return self.values.get(key)

    async def put(self, partition: int, key: bytes, value: bytes) -> None:
        if self.crash_after is not None:
            if self.crash_after == 0:
                raise ConnectionError("the broker is gone")
            self.crash_after -= 1
        for _ in range(3 if self.slow else 0):
            await asyncio.sleep(0)
        self.values[key] = value

    async def load(self, partition: int) -> None:
        """Everything is loaded already."""


class MemoryOutbox(Outbox):
    """Keeps what was sent."""

    def __init__(self) -> None:
        self.sent: dict[Topic, list[Record]] = defaultdict(list)
        self.meanwhile: dict[Topic, Callable[[], None]] = {}  # happens while the next records of a topic are sent
        self.forgotten: list[tuple[Topic, str]] = []

    async def send(self, topic: Topic, records: Iterable[tuple[str, Record]]) -> dict[int, int]:
        self.sent[topic].extend(record for _, record in records)
        self.meanwhile.pop(topic, lambda: None)()
        return {0: len(self.sent[topic])}

    async def forget(self, topic: Topic, keys: Iterable[str]) -> None:
        self.forgotten += [(topic, key) for key in keys]

    def of(self, topic: Topic) -> list[Record]:
        return self.sent[topic]


def finding(at_s: int = 0, *, family: str = "velocity", usd_per_min: float = 30.0, key_id: str = KEY) -> Finding:
    return Finding(
        finding_id=stable_id("fnd", key_id, family, at_s), at_ms=T0 + at_s * 1000, key_id=key_id, family=family,
        detector=family, severity="critical", score=9.0, certain=family == "policy", reason=f"{family} is unusual",
        evidence={"observed": 1.0}, usd_per_min=usd_per_min, expected_usd_per_min=0.01, facts=FACTS,
    )  # fmt: skip


def decider(
    mode: str = "auto", steps: dict[Step, bool] | None = None, *, wider_steps: bool = False, **scopes: Scope
) -> Decider:
    responses = ResponsesConfig(mode=mode, ladder=LadderConfig(wider_steps=wider_steps))
    offered = specs(STEPS if steps is None else steps, **scopes)
    return Decider(responses, BudgetsConfig(), lambda key_id, facts: offered)


def request(action: str, at_s: int = 60, *, by: str = "ana", key_id: str = KEY, step: Step | None = None) -> Request:
    return Request(
        request_id=f"{action}-{at_s}-{by}", at_ms=T0 + at_s * 1000, by=by, action=action, key_id=key_id, step=step,
        facts=FACTS,
    )  # fmt: skip


def outcome(command: Command, state: StepState = StepState.CONFIRMED) -> Outcome:
    return Outcome(
        command_id=command.command_id, incident_id=command.incident_id, key_id=command.key_id, step=command.step,
        state=state, at_ms=command.at_ms + 100, attempts=1, seconds_to_effective=0.1,
    )  # fmt: skip
