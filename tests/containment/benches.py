"""One test bench per provider: a live key, a server (or the fake) that can be told to misbehave, a secret to hide."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Literal

from pydantic import SecretStr

from containment.providers.anthropic import AnthropicProvider
from containment.providers.base import Provider
from containment.providers.errors import by_status
from containment.providers.gate import GateProvider, Standing
from containment.providers.litellm import LiteLLMProvider
from containment.providers.memory import Fault, MemoryProvider
from containment.providers.openai import OpenAIProvider
from containment.providers.sandbox import SandboxProvider
from containment.sandbox_server import NewKey, create_sandbox
from schemas.verdict import GateState
from tests.containment.bench import SECRET, TIMEOUT_S, Bench, over_http
from tests.containment.cloud_benches import CLOUDS
from tests.containment.keeper_benches import KEEPERS
from tests.containment.own_benches import OWN
from tests.containment.servers import anthropic, litellm, openai
from tests.containment.servers.serve import Misbehave

__all__ = ["BENCHES", "SECRET", "Bench"]


@contextlib.asynccontextmanager
async def openai_bench() -> AsyncIterator[Bench]:
    def make(secret: SecretStr, url: str, timeout_s: float) -> Provider:
        return OpenAIProvider("openai", secret, base_url=url, timeout_s=timeout_s, degrade_to=("cheap",))

    app = openai.create(SECRET, openai.Project({"key_live"}))
    async with over_http(app, make, "proj_shop/key_live", "proj_gone/key_gone", "/v1") as bench:
        yield bench


@contextlib.asynccontextmanager
async def anthropic_bench() -> AsyncIterator[Bench]:
    def make(secret: SecretStr, url: str, timeout_s: float) -> Provider:
        return AnthropicProvider("anthropic", secret, base_url=url, timeout_s=timeout_s)

    app = anthropic.create(SECRET, {"apikey_live": "active"})
    async with over_http(app, make, "apikey_live", "apikey_gone") as bench:
        yield bench


@contextlib.asynccontextmanager
async def litellm_bench() -> AsyncIterator[Bench]:
    def make(secret: SecretStr, url: str, timeout_s: float) -> Provider:
        return LiteLLMProvider("litellm", secret, base_url=url, timeout_s=timeout_s)

    async with over_http(litellm.create(SECRET, {litellm.KEY: None}), make, litellm.KEY, "9" * 64) as bench:
        yield bench


@contextlib.asynccontextmanager
async def sandbox_bench() -> AsyncIterator[Bench]:
    def make(secret: SecretStr, url: str, timeout_s: float) -> Provider:
        return SandboxProvider("sandbox", secret, base_url=url, timeout_s=timeout_s)

    app = create_sandbox(SecretStr(SECRET))
    async with over_http(app, make, "fp1:0a", "fp1:ff") as bench:
        await _register(bench.provider, "fp1:0a")
        bench.changes = _since(bench.changes)
        yield bench


async def _register(provider: Provider, key_id: str) -> None:
    assert isinstance(provider, SandboxProvider)
    new = NewKey(key_id=key_id).model_dump(mode="json")
    await provider._api.call("POST", "/admin/keys", "register", body=new)  # the bench knows the sandbox inside out


def _since(count: Callable[[], int]) -> Callable[[], int]:
    before = count()
    return lambda: count() - before


class Topic(MemoryProvider):
    """The verdicts' topic in memory: the faults of the provider that ships, on the port of the gates'."""

    async def verdict(self, key_id: str) -> GateState:
        self._begin("read", key_id)
        return self.given

    async def tell(self, key_id: str, state: GateState) -> None:
        fault = self._begin("apply", key_id, changing=True)
        self.given = state
        if fault and fault.error:
            raise fault.error

    async def standing(self, key_id: str) -> Standing | None:
        return Standing(3, 3)

    given: GateState = "allow"


@contextlib.asynccontextmanager
async def gate_bench() -> AsyncIterator[Bench]:
    key = "fp1:" + "0a" * 16
    topic = Topic("gate", (key,))

    def another(*, secret: str = SECRET, timeout_s: float = TIMEOUT_S) -> Provider:
        if secret == SECRET:
            return GateProvider("gate", topic)
        stranger = Topic("gate", (key,))
        stranger.faults.extend([Fault(error=by_status(401, "read", ""))] * 9)
        return GateProvider("gate", stranger)

    yield Bench(another(), key, "fp1:" + "ff" * 16, _faults(topic), _changes(topic), another)


def _faults(provider: MemoryProvider) -> Callable[[Misbehave], None]:
    def fault(wanted: Misbehave) -> None:
        error = by_status(wanted.status, "call", "", retry_after=wanted.headers.get("retry-after"))
        if wanted.hang:
            error = by_status(408, "call", "no answer in time")
        elif wanted.status < 300:
            error = by_status(502, "call", "nonsense")
        kind: Literal["before", "after"] = "after" if wanted.after else "before"
        provider.faults.append(Fault(kind, error, on="change" if wanted.changes_only else "any"))

    return fault


def _changes(provider: MemoryProvider) -> Callable[[], int]:
    return lambda: sum(call.startswith(("apply", "undo")) for call, _ in provider.calls)


@contextlib.asynccontextmanager
async def memory_bench() -> AsyncIterator[Bench]:
    provider = MemoryProvider("memory", ("k1",))

    def another(*, secret: str = SECRET, timeout_s: float = TIMEOUT_S) -> Provider:
        if secret == SECRET:
            return provider
        stranger = MemoryProvider("memory", ("k1",))
        stranger.faults.extend([Fault(error=by_status(401, "read k1", ""))] * 9)
        return stranger

    yield Bench(provider, "k1", "k9", _faults(provider), _changes(provider), another)


BENCHES = {
    "openai": openai_bench,
    **OWN,
    "anthropic": anthropic_bench,
    "litellm": litellm_bench,
    "sandbox": sandbox_bench,
    "memory": memory_bench,
    "gate": gate_bench,
    **CLOUDS,
    **KEEPERS,
}
