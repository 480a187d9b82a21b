"""One test bench per provider: a live key, a server (or the fake) that can be told to misbehave, a secret to hide."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from fastapi import FastAPI
from pydantic import SecretStr

from containment.providers.anthropic import AnthropicProvider
from containment.providers.base import Provider
from containment.providers.errors import by_status
from containment.providers.litellm import LiteLLMProvider
from containment.providers.memory import Fault, MemoryProvider
from containment.providers.openai import OpenAIProvider
from containment.providers.sandbox import SandboxProvider
from containment.sandbox_server import NewKey, create_sandbox
from tests.containment.servers import anthropic, litellm, openai
from tests.containment.servers.serve import Faulty, Misbehave, serving

SECRET = "plainly-secret-0123456789"
TIMEOUT_S = 10.0


class Another(Protocol):
    def __call__(self, *, secret: str = SECRET, timeout_s: float = TIMEOUT_S) -> Provider: ...


@dataclass
class Bench:
    """What the contract suite needs of a provider."""

    provider: Provider
    ref: str
    unknown_ref: str
    fault: Callable[[Misbehave], None]
    changes: Callable[[], int]  # requests that asked for a change
    another: Another  # the same provider and server, reached otherwise


Make = Callable[[SecretStr, str, float], Provider]


@contextlib.asynccontextmanager
async def _over_http(app: FastAPI, make: Make, ref: str, unknown: str, suffix: str = "") -> AsyncIterator[Bench]:
    faulty = Faulty(app)
    async with serving(faulty) as url, contextlib.AsyncExitStack() as closing:

        def another(*, secret: str = SECRET, timeout_s: float = TIMEOUT_S) -> Provider:
            provider = make(SecretStr(secret), url + suffix, timeout_s)
            closing.push_async_callback(provider.close)
            return provider

        def changes() -> int:
            return sum(method != "GET" and not path.endswith("/probe") for method, path in faulty.requests)

        yield Bench(another(), ref, unknown, faulty.faults.append, changes, another)


@contextlib.asynccontextmanager
async def openai_bench() -> AsyncIterator[Bench]:
    def make(secret: SecretStr, url: str, timeout_s: float) -> Provider:
        return OpenAIProvider("openai", secret, base_url=url, timeout_s=timeout_s)

    app = openai.create(SECRET, {"key_live"})
    async with _over_http(app, make, "proj_shop/key_live", "proj_shop/key_gone", "/v1") as bench:
        yield bench


@contextlib.asynccontextmanager
async def anthropic_bench() -> AsyncIterator[Bench]:
    def make(secret: SecretStr, url: str, timeout_s: float) -> Provider:
        return AnthropicProvider("anthropic", secret, base_url=url, timeout_s=timeout_s)

    app = anthropic.create(SECRET, {"apikey_live": "active"})
    async with _over_http(app, make, "apikey_live", "apikey_gone") as bench:
        yield bench


@contextlib.asynccontextmanager
async def litellm_bench() -> AsyncIterator[Bench]:
    def make(secret: SecretStr, url: str, timeout_s: float) -> Provider:
        return LiteLLMProvider("litellm", secret, base_url=url, timeout_s=timeout_s)

    async with _over_http(litellm.create(SECRET, {"88dc28": None}), make, "88dc28", "99ef00") as bench:
        yield bench


@contextlib.asynccontextmanager
async def sandbox_bench() -> AsyncIterator[Bench]:
    def make(secret: SecretStr, url: str, timeout_s: float) -> Provider:
        return SandboxProvider("sandbox", secret, base_url=url, timeout_s=timeout_s)

    app = create_sandbox(SecretStr(SECRET))
    async with _over_http(app, make, "fp1:0a", "fp1:ff") as bench:
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


@contextlib.asynccontextmanager
async def memory_bench() -> AsyncIterator[Bench]:
    provider = MemoryProvider("memory", ("k1",))

    def fault(wanted: Misbehave) -> None:
        error = by_status(wanted.status, "call", "", retry_after=wanted.headers.get("retry-after"))
        if wanted.hang:
            error = by_status(408, "call", "no answer in time")
        elif wanted.status < 300:
            error = by_status(502, "call", "nonsense")
        kind: Literal["before", "after"] = "after" if wanted.after else "before"
        provider.faults.append(Fault(kind, error, on="change" if wanted.changes_only else "any"))

    def changes() -> int:
        return sum(call.startswith(("apply", "undo")) for call, _ in provider.calls)

    def another(*, secret: str = SECRET, timeout_s: float = TIMEOUT_S) -> Provider:
        if secret == SECRET:
            return provider
        stranger = MemoryProvider("memory", ("k1",))
        stranger.faults.extend([Fault(error=by_status(401, "read k1", ""))] * 9)
        return stranger

    yield Bench(provider, "k1", "k9", fault, changes, another)


BENCHES = {
    "openai": openai_bench,
    "anthropic": anthropic_bench,
    "litellm": litellm_bench,
    "sandbox": sandbox_bench,
    "memory": memory_bench,
}
