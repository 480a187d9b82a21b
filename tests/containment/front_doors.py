"""For each kind with a harmless call: its provider, a key's secret at hand, and the door that the key's users use."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field

from pydantic import SecretStr
from starlette.types import ASGIApp, Receive, Scope, Send

from containment.probed import ProbedProvider
from containment.providers.base import Provider
from containment.providers.build import build_provider
from containment.providers.google import GoogleProvider
from containment.providers.harmless import HarmlessCall
from schemas.config.wiring import DeclaredStepConfig, ProviderConfig
from schemas.records import Step
from tests.containment.cloud_benches import at_once
from tests.containment.keeper_benches import FixedToken, azure_ref
from tests.containment.own_benches import KONG_KEY, signing
from tests.containment.servers import (
    anthropic,
    automation,
    azure,
    google,
    kong,
    kubernetes,
    litellm,
    openai,
    openrouter,
)
from tests.containment.servers.serve import Faulty, serving

ADMIN = "plainly-secret-0123456789"


@dataclass
class FrontDoor:
    """`doors`: what the key's users call; faults put there meet the probe."""

    provider: ProbedProvider
    inner: Provider
    ref: str
    cut: Step
    doors: list[Faulty]
    secret: str
    config: ProviderConfig
    calls: list[HarmlessCall] = field(default_factory=list)

    def with_secret(self, secret: str | None, *, timeout_s: float = 10) -> ProbedProvider:
        """The same, with another secret at hand, or none."""
        call = HarmlessCall(self.config, timeout_s=timeout_s)
        self.calls.append(call)
        return ProbedProvider(self.inner, call, lambda _: SecretStr(secret) if secret is not None else None)


MakeDoor = Callable[[], AbstractAsyncContextManager[FrontDoor]]


class Door:
    """Somebody's model endpoint behind a gateway: lets the key in that is sent as `header`, while `lets_in`."""

    def __init__(self, header: str, secret: str, lets_in: Callable[[], bool], refusal: int = 401) -> None:
        self._expected = (header.lower().encode(), secret.encode())
        self._lets_in = lets_in
        self._refusal = refusal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        good = self._expected in scope["headers"] and self._lets_in()
        await send({"type": "http.response.start", "status": 200 if good else self._refusal, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})


@contextlib.asynccontextmanager
async def _opened(
    config: ProviderConfig, inner: Provider, ref: str, cut: Step, doors: list[Faulty], secret: str
) -> AsyncIterator[FrontDoor]:
    call = HarmlessCall(config, timeout_s=10)
    provider = ProbedProvider(inner, call, lambda asked: SecretStr(secret) if asked == ref else None)
    found = FrontDoor(provider, inner, ref, cut, doors, secret, config)
    try:
        yield found
    finally:
        await provider.close()
        for each in found.calls:
            await each.close()


def built_in(kind: str, app: Callable[[], ASGIApp], suffix: str, ref: str, cut: Step, secret: str) -> MakeDoor:
    """One whose users call where its admin API is."""

    @contextlib.asynccontextmanager
    async def opened() -> AsyncIterator[FrontDoor]:
        door = Faulty(app())
        async with serving(door) as url:
            config = ProviderConfig(kind=kind, base_url=url + suffix)
            inner = build_provider(kind, config, SecretStr(ADMIN))
            async with _opened(config, inner, ref, cut, [door], secret) as found:
                yield found

    return opened


@contextlib.asynccontextmanager
async def litellm_door() -> AsyncIterator[FrontDoor]:
    gateway = litellm.Gateway(ADMIN, {litellm.KEY: litellm.Row()})
    doors = [Faulty(gateway.replica()), Faulty(gateway.replica())]
    async with AsyncExitStack() as stack:
        urls = [await stack.enter_async_context(serving(door)) for door in doors]
        config = ProviderConfig(kind="litellm", base_url=", ".join(urls))
        inner = build_provider("litellm", config, SecretStr(ADMIN))
        yield await stack.enter_async_context(
            _opened(config, inner, litellm.KEY, "block", doors, f"sk-{litellm.KEY}")
        )  # fmt: skip


@contextlib.asynccontextmanager
async def google_door() -> AsyncIterator[FrontDoor]:
    door, tokens = Faulty(google.create(google.Project(ADMIN))), Faulty(google.create_tokens(ADMIN, ADMIN))
    async with serving(door) as url, serving(tokens) as token_url:
        config = ProviderConfig(kind="google", probe_url=f"{url}/v1beta/models?pageSize=1")
        key_file = SecretStr(google.key_file(ADMIN, token_url))
        inner = GoogleProvider("google", key_file, base_url=url, sleep=at_once)
        secret = "AIza" + google.API_KEY.rpartition("/")[2]
        async with _opened(config, inner, google.API_KEY, "block", [door], secret) as found:
            yield found


@contextlib.asynccontextmanager
async def azure_door() -> AsyncIterator[FrontDoor]:
    from containment.providers.azure import AzureProvider  # noqa: PLC0415 - as the benches do

    account, secret = azure.Account(), azure.Account().key("Key1")
    door = Faulty(Door("api-key", secret, lambda: not account.disable_local_auth, 403))
    async with serving(Faulty(azure.create(ADMIN, {"shop": account}))) as url, serving(door) as at:
        inner = AzureProvider("azure", SecretStr(ADMIN), credential=FixedToken(ADMIN), base_url=url)
        config = ProviderConfig(kind="azure", probe_url=f"{at}/{{account}}/openai/models?api-version=2024-10-21")
        async with _opened(config, inner, azure_ref("shop", secret), "block", [door], secret) as found:
            yield found


@contextlib.asynccontextmanager
async def kong_door() -> AsyncIterator[FrontDoor]:
    shop = kong.Consumer({KONG_KEY: "its-value"})
    door = Faulty(Door("apikey", "its-value", lambda: not shop.plugins, 403))
    async with serving(Faulty(kong.create(ADMIN, {"shop": shop}))) as url, serving(door) as at:
        config = ProviderConfig(kind="kong", base_url=url, probe_url=f"{at}/llm/models")
        inner = build_provider("kong", config, SecretStr(ADMIN))
        async with _opened(config, inner, f"shop/{KONG_KEY}/sole", "block", [door], "its-value") as found:
            yield found


@contextlib.asynccontextmanager
async def envoy_door() -> AsyncIterator[FrontDoor]:
    cluster = kubernetes.Cluster({"llm-keys": {"checkout": "its-value"}})
    door = Faulty(Door("x-team-key", "its-value", lambda: "checkout" in cluster.plain("llm-keys")))
    async with serving(Faulty(kubernetes.create(ADMIN, cluster))) as url, serving(door) as at:
        config = ProviderConfig(kind="envoy", base_url=url, probe_url=f"{at}/v1/models", probe_header="x-team-key")
        inner = build_provider("envoy", config, SecretStr(ADMIN))
        async with _opened(config, inner, "gateway/llm-keys/checkout", "disable", [door], "its-value") as found:
            yield found


@contextlib.asynccontextmanager
async def webhook_door() -> AsyncIterator[FrontDoor]:
    works = automation.Automation({"k-1": set()})
    door = Faulty(Door("authorization", "Bearer its-value", lambda: not works.keys["k-1"]))
    hook = automation.ByAction(automation.create(signing(ADMIN), works))
    async with serving(hook) as url, serving(door) as at:
        steps = {"disable": DeclaredStepConfig(reversible=True)}
        config = ProviderConfig(kind="webhook", base_url=f"{url}/hook", probe_url=f"{at}/models", steps=steps)
        inner = build_provider("webhook", config, SecretStr(signing(ADMIN)))
        async with _opened(config, inner, "k-1", "disable", [door], "its-value") as found:
            yield found


FRONT_DOORS: dict[str, MakeDoor] = {
    "openai": built_in(
        "openai", lambda: openai.create(ADMIN, openai.Project({"key_live"})), "/v1", "proj_shop/key_live", "revoke",
        "sk-key_live",
    ),
    "anthropic": built_in(
        "anthropic", lambda: anthropic.create(ADMIN, {"apikey_live": "active"}), "", "apikey_live", "disable",
        "sk-ant-apikey_live",
    ),
    "openrouter": built_in(
        "openrouter", lambda: openrouter.create(ADMIN, {openrouter.LIVE: openrouter.Key()}), "/api/v1",
        openrouter.LIVE, "disable", f"sk-or-{openrouter.LIVE}",
    ),
    "litellm": litellm_door,
    "google": google_door,
    "azure": azure_door,
    "kong": kong_door,
    "envoy": envoy_door,
    "webhook": webhook_door,
}  # fmt: skip
