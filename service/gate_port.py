"""What the provider of Keyfuse's own keys speaks through: the verdicts' topic, and what gates report."""

from __future__ import annotations

from collections.abc import Callable

from aiokafka.errors import KafkaError
from pydantic import ValidationError

from containment.providers.errors import Reason, Refused, Retryable
from containment.providers.gate import Standing
from controls.registry import Registry
from schemas.verdict import GateState, GateVerdict
from streams.gates_heard import Gates
from streams.outbox import Outbox
from streams.topics import Topic


class BrokerPort:
    """Reads back what it wrote: `take` follows the topic."""

    def __init__(
        self, outbox: Outbox, gates: Gates, *, registry: Callable[[], Registry], now_ms: Callable[[], int]
    ) -> None:
        self._outbox, self._gates, self._registry, self._now_ms = outbox, gates, registry, now_ms
        self._given: dict[str, GateState] = {}
        self._written: dict[str, dict[int, int]] = {}

    def take(self, _: bytes | None, value: bytes | None) -> bool:
        """One record of the topic."""
        try:
            verdict = GateVerdict.from_bytes(value or b"")
        except ValidationError:
            return False
        if verdict.source == "provider":
            self._given[verdict.key_id] = verdict.state
        return verdict.source == "provider"

    async def verdict(self, key_id: str) -> GateState:
        entry = self._registry().entry(key_id)
        if entry is None or entry.kind != "virtual":
            raise Refused(Reason.UNKNOWN_KEY, f"{key_id} is no key of Keyfuse's own")
        return self._given.get(key_id, "allow")

    async def tell(self, key_id: str, state: GateState) -> None:
        verdict = GateVerdict(
            key_id=key_id, state=state, reason="" if state == "allow" else "stopped by Keyfuse: ask its owner",
            incident_id="", at_ms=self._now_ms(), source="provider",
        )  # fmt: skip
        try:
            self._written[key_id] = await self._outbox.send(Topic.VERDICTS, [(f"provider:{key_id}", verdict)])
        except (KafkaError, OSError, TimeoutError) as error:
            raise Retryable(Reason.UNAVAILABLE, f"the broker does not take the verdict: {error}") from error

    async def standing(self, key_id: str) -> Standing | None:
        """Of a verdict that another process wrote nobody knows where it lies: it is given once more."""
        if key_id not in self._written:
            await self.tell(key_id, await self.verdict(key_id))
        reached = await self._gates.hold(self._written[key_id])
        return None if reached is None else Standing(reached.held, reached.of, reached.silent)
