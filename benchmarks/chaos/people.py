"""People who ask for cuts of healthy keys, and give stolen ones back, while everything fails."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from aiokafka.errors import KafkaError

from benchmarks.chaos.traffic import KEYS
from benchmarks.chaos.world import World
from schemas.records import Request, StepState
from service.demo_watch import Watch
from service.install import wall_ms
from streams.kafka import producer
from streams.outbox import Outbox
from streams.topics import Topic
from tests.integration.world import until

_AGAIN_S: Final = 0.5
_PATIENCE_S: Final = 3600.0


@dataclass
class People:
    """`asked` are the requests that were taken, by the key."""

    world: World
    watch: Watch
    asked: dict[str, list[str]] = field(default_factory=dict)

    async def cut_and_give_back(self, seed: int, stolen: Sequence[str], *, seconds: float) -> None:
        """Three cuts at some time; of the keys that were cut, every other is given back a little later."""
        rng = random.Random(seed)
        healthy = rng.sample([key for key in KEYS if key not in stolen], 3)
        cuts = [self._at(rng.uniform(0.1, 0.8) * seconds, "contain", key) for key in healthy]
        back = [self._give_back(key, rng.uniform(0, 10)) for key in [*stolen[::2], *healthy[:1]]]
        await asyncio.gather(*cuts, *back)

    async def _at(self, at_s: float, action: str, key_id: str) -> None:
        await asyncio.sleep(at_s)
        await self._ask(action, key_id)

    async def _give_back(self, key_id: str, later_s: float) -> None:
        await until(lambda: self._confirmed(key_id), f"the cut of {key_id}", patience_s=_PATIENCE_S)
        await asyncio.sleep(later_s)
        await self._ask("restore", key_id)

    def _confirmed(self, key_id: str) -> bool:
        return any(one.key_id == key_id and one.state is StepState.CONFIRMED for one in self.watch.outcomes)

    async def _ask(self, action: str, key_id: str) -> None:
        """Until the broker has it; the same request, however often."""
        one = self.world.one
        said = {"action": action, "key_id": key_id, "facts": one.facts_of(key_id)}
        step = {"step": "disable"} if action == "contain" else {}
        request = Request.model_validate(
            {"request_id": f"{action}-{key_id}", "at_ms": wall_ms(), "by": "ann", "reason": "a drill", **said, **step}
        )
        while True:
            sender = producer(one.folder.wiring.kafka.bootstrap)
            try:
                await sender.start()
                await Outbox(sender, one.topics).send(Topic.REQUESTS, [(key_id, request)])
            except KafkaError:
                await asyncio.sleep(_AGAIN_S)
            else:
                self.asked.setdefault(key_id, []).append(action)
                return
            finally:
                await sender.stop()
