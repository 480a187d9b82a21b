"""Benches of those who keep keys for others: Azure's accounts, OpenRouter, Vault."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from hashlib import sha256

from azure.core.credentials import AccessToken
from pydantic import SecretStr

from containment.providers.azure import AzureProvider
from containment.providers.base import Provider
from containment.providers.openrouter import OpenRouterProvider
from containment.providers.vault import VaultProvider
from tests.containment.bench import SECRET, Bench, over_http
from tests.containment.servers import azure, openbao, openrouter, vault
from tests.containment.servers.serve import is_change

MakeBench = Callable[[], AbstractAsyncContextManager[Bench]]
LEASES = frozenset({"openai/creds/shop/h31Z7", "openai/creds/shop/k92Q4", "openai/creds/other/z1"})
FAR_FUTURE_S = 4_102_444_800


class FixedToken:
    """A credential whose token never ends."""

    def __init__(self, token: str) -> None:
        self.token = token
        self.closed = False

    async def get_token(self, *scopes: str, **options: object) -> AccessToken:
        return AccessToken(self.token, FAR_FUTURE_S)

    async def close(self) -> None:
        self.closed = True

    async def __aenter__(self) -> FixedToken:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()


def azure_ref(account: str, key: str = "") -> str:
    mark = f"#{sha256(key.encode()).hexdigest()[:16]}" if key else ""
    return f"{azure.SUBSCRIPTION}/{azure.GROUP}/{account}/Key1{mark}"


def asks_azure(method: str, path: str) -> bool:
    return is_change(method, path) and not path.endswith("/listKeys")


def asks_vault(method: str, path: str) -> bool:
    return method in {"POST", "PUT"} and not path.endswith("/leases/lookup")


def azure_bench(name: str, *, marked: bool) -> MakeBench:
    """`marked`: the reference tells the key's fingerprint, else only how it stood before can tell."""

    @contextlib.asynccontextmanager
    async def bench() -> AsyncIterator[Bench]:
        def make(secret: SecretStr, url: str, timeout_s: float) -> Provider:
            credential = FixedToken(secret.get_secret_value())
            return AzureProvider(name, secret, credential=credential, base_url=url, timeout_s=timeout_s)

        shop = azure.Account()
        ref, unknown = azure_ref("shop", shop.key("Key1") if marked else ""), azure_ref("nobodys")
        app = azure.create(SECRET, {"shop": shop})
        async with over_http(app, make, ref, unknown, is_change=asks_azure) as bench:
            bench.impatient_s = 0.5  # Microsoft's client takes a while until it asks
            yield bench

    return bench


@contextlib.asynccontextmanager
async def openrouter_bench() -> AsyncIterator[Bench]:
    def make(secret: SecretStr, url: str, timeout_s: float) -> Provider:
        return OpenRouterProvider("openrouter", secret, base_url=url, timeout_s=timeout_s)

    app = openrouter.create(SECRET, {openrouter.LIVE: openrouter.Key(limit=100, limit_reset="monthly")})
    async with over_http(app, make, openrouter.LIVE, "0" * 64, "/api/v1") as bench:
        yield bench


def vault_bench(name: str, ref: str, unknown: str) -> MakeBench:
    @contextlib.asynccontextmanager
    async def bench() -> AsyncIterator[Bench]:
        def make(secret: SecretStr, url: str, timeout_s: float) -> Provider:
            return VaultProvider(name, secret, base_url=url, timeout_s=timeout_s)

        async with over_http(vault.create(SECRET, set(LEASES)), make, ref, unknown, is_change=asks_vault) as bench:
            yield bench

    return bench


def openbao_bench(name: str, *, prefix: bool) -> MakeBench:
    """A real server. It is made anew for each test: that takes less than a second, and leaves nothing behind."""

    @contextlib.asynccontextmanager
    async def bench() -> AsyncIterator[Bench]:
        def make(secret: SecretStr, url: str, timeout_s: float) -> Provider:
            return VaultProvider(name, secret, base_url=url, timeout_s=timeout_s)

        async with openbao.serving_openbao(SECRET) as server:
            lease = await server.lend()
            await server.lend("other")
            ref, unknown = ("prefix:pki/issue/shop", "prefix:pki/issue/nobody") if prefix else (lease, f"{lease}x")
            async with over_http(server, make, ref, unknown, is_change=asks_vault) as bench:
                yield bench

    return bench


KEEPERS: dict[str, MakeBench] = {
    "azure": azure_bench("azure", marked=True),
    "azure/unmarked": azure_bench("azure/unmarked", marked=False),
    "openrouter": openrouter_bench,
    "vault/lease": vault_bench("vault/lease", "openai/creds/shop/h31Z7", "openai/creds/shop/gone"),
    "vault/prefix": vault_bench("vault/prefix", "prefix:openai/creds/shop", "prefix:openai/creds/nobody"),
    "vault/lease-openbao": openbao_bench("vault/lease-openbao", prefix=False),
    "vault/prefix-openbao": openbao_bench("vault/prefix-openbao", prefix=True),
}
