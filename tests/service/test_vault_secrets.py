"""An admin key out of Vault: read where it is said to be, and every failure a sentence without the secret."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

import pytest
from fastapi import FastAPI, Header
from fastapi.responses import JSONResponse
from pydantic import SecretStr

from containment.providers.errors import Reason, Refused
from containment.sandbox_server import create_sandbox
from schemas.config.wiring import ProviderConfig, VaultConfig
from service.adapters import providers
from service.errors import UserError
from service.secrets import SecretMissing
from service.vault_secrets import read_vault
from tests.containment.servers.serve import Faulty, Misbehave, serving
from tests.service.test_install import an_install

TOKEN, SECRET = "hvs.token-of-the-test", "sk-admin-very-secret-0123456789"


def vault_server() -> FastAPI:
    """KV version 2 as its API page documents it, at the mount `kv`."""
    app = FastAPI()
    secrets: dict[str, dict[str, Any]] = {"keyfuse/openai": {"admin_key": f" {SECRET}\n", "number": 7, "empty": " "}}

    @app.get("/v1/kv/data/{path:path}")
    def read(path: str, x_vault_token: Annotated[str, Header()] = "", x_vault_namespace: str = Header("")) -> Any:
        if x_vault_token != TOKEN:
            return JSONResponse({"errors": ["permission denied", f"invalid token {x_vault_token}"]}, 403)
        if path not in secrets:
            return JSONResponse({"errors": []}, 404)
        if path == "keyfuse/openai" and x_vault_namespace not in ("", "team"):
            return JSONResponse({"errors": []}, 404)
        return {"data": {"data": secrets[path], "metadata": {"version": 3, "destroyed": False}}}

    @app.get("/v1/nonsense/data/{path:path}")
    def nonsense(path: str) -> Any:
        return ["nothing", SECRET]

    @app.get("/v1/elsewhere/data/{path:path}")
    def elsewhere(path: str) -> Any:
        return JSONResponse({}, 302, headers={"location": "/v1/kv/data/keyfuse/openai"})

    return app


@pytest.fixture
async def address() -> AsyncIterator[str]:
    async with serving(Faulty(vault_server())) as url:
        yield url


async def read(where: str, vault: VaultConfig, token: str = TOKEN) -> str:
    found = await asyncio.to_thread(read_vault, where, vault, SecretStr(token), what="provider openai")
    return found.get_secret_value()


async def test_the_field_is_read_without_the_line_break_of_whoever_put_it_there(address: str) -> None:
    assert await read("kv/keyfuse/openai#admin_key", VaultConfig(address=address)) == SECRET
    assert await read("kv/keyfuse/openai#admin_key", VaultConfig(address=address + "/", namespace="team")) == SECRET


@pytest.mark.parametrize(
    ("where", "changes", "token", "words"),
    [
        ("kv/keyfuse/openai#admin_key", {}, "wrong", r"token is wrong, has ended, or may not read it \(403\)"),
        ("kv/keyfuse/nobody#admin_key", {}, TOKEN, r"there is no such secret, .* \(404\)"),
        ("kv/keyfuse/openai#admin_key", {"namespace": "other"}, TOKEN, "there is no such secret"),
        ("kv/keyfuse/openai#other", {}, TOKEN, "no such field in it"),
        ("kv/keyfuse/openai#number", {}, TOKEN, "empty, or no text"),
        ("kv/keyfuse/openai#empty", {}, TOKEN, "empty, or no text"),
        ("nonsense/a#b", {}, TOKEN, "no such field in it"),
        ("elsewhere/a#admin_key", {}, TOKEN, r"Vault refuses \(302\)"),
        (
            "kv/keyfuse/openai#admin_key",
            {"address": "http://127.0.0.1:9", "timeout_s": 1},
            TOKEN,
            "no answer from Vault",
        ),
        (
            "kv/keyfuse/openai#admin_key",
            {"ca_file": "/nowhere.pem", "address": "https://127.0.0.1:9"},
            TOKEN,
            "no answer",
        ),
    ],
)
async def test_every_failure_says_what_it_is_and_no_secret(
    address: str, where: str, changes: dict[str, Any], token: str, words: str
) -> None:
    with pytest.raises(SecretMissing, match=words) as caught:
        await read(where, VaultConfig(**{"address": address} | changes), token)
    assert str(caught.value).startswith("provider openai: ")
    shown = f"{caught.value!r} {caught.value.__cause__!r}"
    assert SECRET not in shown
    assert TOKEN not in shown


async def test_it_is_waited_for_no_longer_than_is_set() -> None:
    silent = Faulty(vault_server())
    silent.faults.append(Misbehave(hang=True))
    async with serving(silent) as url:
        with pytest.raises(SecretMissing, match=r"no answer from Vault .* \(ReadTimeout\)"):
            await read("kv/keyfuse/openai#admin_key", VaultConfig(address=url, timeout_s=0.2))


async def test_a_provider_is_built_with_the_admin_key_from_vault(address: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "token").chmod(0o600)
    by_file = VaultConfig(address=address, token_env="", token_file=str(tmp_path / "token"))
    by_env = VaultConfig(address=address, token_env="T")
    async with serving(Faulty(create_sandbox(SecretStr(SECRET)))) as url:
        provider = ProviderConfig(kind="sandbox", base_url=url, secret_vault="kv/keyfuse/openai#admin_key")
        for vault in (by_env, by_file):
            install = an_install(tmp_path, environ={"T": TOKEN}, providers={"main": provider}, vault=vault)
            built = (await asyncio.to_thread(providers, install))["main"]
            with pytest.raises(Refused) as caught:
                await built.snapshot("nobody")
            assert caught.value.reason is Reason.UNKNOWN_KEY  # and not: wrong credentials
            await built.close()


def test_a_missing_token_is_named(tmp_path: Path) -> None:
    provider = ProviderConfig(kind="sandbox", base_url="http://127.0.0.1:9", secret_vault="kv/keyfuse/openai#admin_key")
    install = an_install(tmp_path, providers={"main": provider}, vault=VaultConfig(address="http://127.0.0.1:9"))
    with pytest.raises(
        UserError, match="provider main: Vault's token: the environment variable VAULT_TOKEN is not set"
    ):
        providers(install)
