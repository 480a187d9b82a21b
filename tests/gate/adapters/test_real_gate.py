"""The adapters' half of the contract against the gate itself: what the fake of the other tests stands for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gate.adapters.asking import AsyncGate
from gate.adapters.outbox import Outbox
from gate.adapters.settings import Settings
from gate.http import Listener
from gate.ports import Rate
from gate.server import GateServer
from tests.gate.test_server import FINGERPRINT, server
from tests.gate.world import KEY, Gate, Rules
from tests.integration.world import until

HASH = "88dc28d0f030c55ed4ab77ed8faf098196cb1c05df778539800c9f1243fe6b4b"  # as LiteLLM calls a key of its own
VIRTUAL = "kfk_" + "A1b2" * 9 + "xy"


@asynccontextmanager
async def asking(made: GateServer) -> AsyncIterator[tuple[AsyncGate, Outbox]]:
    listener = Listener(made)
    settings = Settings(await listener.start(), gate_token="of-the-gate", fail="closed", timeout_s=20)
    gate, outbox = AsyncGate(settings), Outbox(settings)
    try:
        yield gate, outbox
    finally:
        await gate.close()
        outbox.close(0)
        await listener.stop()


@pytest.mark.parametrize(
    ("question", "state", "status"),
    [
        ({"key_id": "k1", "model": "dear", "endpoint": "/v1/chat/completions", "input_bytes": 9}, "allow", 200),
        ({"key_id": "k1", "requests": 0}, "allow", 200),
        ({"key_id": HASH, "model": "dear"}, "allow", 200),
        ({"key_id": "litellm_proxy_master_key", "model": "dear"}, "allow", 200),
        ({"key": VIRTUAL, "requests": 0}, "deny", 401),
        ({"key_id": "k1", "model": "forbidden"}, "deny", 403),
        ({"key_id": "k1", "model": "m" * 513}, "deny", 403),
    ],
)
async def test_the_gate_answers_what_adapters_ask(question: dict[str, Any], state: str, status: int) -> None:
    real = Gate(rules=Rules(denied_models=frozenset({"forbidden"})))
    async with asking(server(real, token="of-the-gate")) as (gate, _):
        answer = await gate.ask(question)
    assert (answer.state, answer.status, answer.away) == (state, status, False), answer
    assert bool(answer.reservation) == (answer.passes and question.get("requests") != 0)


async def test_a_virtual_key_of_the_registry_passes_and_its_name_comes_back() -> None:
    real = Gate(keys=(KEY.model_copy(update={"key_id": FINGERPRINT.of(VIRTUAL)}),))
    async with asking(server(real, token="of-the-gate")) as (gate, _):
        answer = await gate.ask({"key": VIRTUAL, "requests": 0})
    assert (answer.passes, answer.key_id) == (True, FINGERPRINT.of(VIRTUAL))


async def test_a_verdict_a_ceiling_and_what_is_given_back() -> None:
    real = Gate(rules=Rules(limits=(Rate("policy p: tokens", "tokens", 86_400, 100),)))
    question = {"key_id": "k1", "model": "dear", "input_tokens": 60, "max_output_tokens": 0}
    async with asking(server(real, token="of-the-gate")) as (gate, outbox):
        first = await gate.ask(question)
        full = await gate.ask(question)
        assert (full.state, full.rule, full.status) == ("throttle", "policy p: tokens", 429)
        assert full.retry_after_s

        outbox.settle({"reservation": first.reservation, "input_tokens": 1, "output_tokens": 1, "cost_usd": 0.0})
        await until(lambda: outbox.counts["settled"] == 1, "it is settled")
        assert (await gate.ask(question)).passes

        real.verdict("deny", use_instead="k2")
        cut = await gate.ask(question)
        assert (cut.status, cut.stays, cut.use_instead) == (403, True, "k2")
