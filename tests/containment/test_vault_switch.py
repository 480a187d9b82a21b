"""Vault's KV version 2 as a switch: which fields change, who else writes, and what cannot be put back."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import AsyncIterator

import pytest
from pydantic import SecretStr

from containment.providers.errors import Reason, Refused, Retryable
from containment.switches.base import Turn
from containment.switches.build import build_switch
from containment.switches.vault import VaultSwitch
from schemas.config.wiring import SwitchConfig
from tests.containment.servers import vault_kv
from tests.containment.servers.serve import Faulty, serving

TOKEN = SecretStr("plainly-secret")
TURN = Turn("k1", "k2", "shop/openai", "shop/spare")


def shop(spare: dict[str, object] | None = None) -> vault_kv.Store:
    now: dict[str, object] = {"key": "old", "org": "o1", "database": "db1"}
    return vault_kv.Store({"shop/openai": [now], "shop/spare": [spare or {"key": "new", "org": "o2"}]})


@contextlib.asynccontextmanager
async def switch(store: vault_kv.Store, *, mount: str = "secret") -> AsyncIterator[VaultSwitch]:
    async with serving(Faulty(vault_kv.create(TOKEN.get_secret_value(), store, mount=mount))) as url:
        made = VaultSwitch("vault", TOKEN, base_url=f"{url}/", mount=mount)
        yield made
        await made.close()


async def test_the_fields_of_the_standby_change_and_others_stay() -> None:
    store = shop()
    async with switch(store) as vault:
        before = await vault.snapshot(TURN)
        assert before == {"version": "1", "fields": '["key", "org"]'}
        assert await vault.apply(TURN) == "wrote version 2"
        assert store.now("shop/openai") == {"key": "new", "org": "o2", "database": "db1"}
        assert await vault.undo(TURN, before) == "wrote version 3, as version 1 was"
    assert store.now("shop/openai") == {"key": "old", "org": "o1", "database": "db1"}


async def test_what_others_write_meanwhile_is_kept_when_it_goes_back() -> None:
    store = shop()
    async with switch(store) as vault:
        before = await vault.snapshot(TURN)
        await vault.apply(TURN)
        store.secrets["shop/openai"].append({"key": "new", "org": "o2", "database": "db2"})
        await vault.undo(TURN, before)
    assert store.now("shop/openai") == {"key": "old", "org": "o1", "database": "db2"}


async def test_a_write_at_the_same_moment_is_never_lost_but_looked_at_and_tried_again() -> None:
    store = shop()
    async with switch(store) as vault:
        read = vault._read

        async def read_then_somebody_writes(path: str, number: int | None = None) -> object:
            found = await read(path, number)
            if path == TURN.secret:
                store.secrets[path].append({"key": "old", "org": "o1", "database": "db2"})
            return found

        vault._read = read_then_somebody_writes  # type: ignore[method-assign, assignment] # the moment between
        with pytest.raises(Retryable, match="somebody else wrote it"):
            await vault.apply(TURN)
        vault._read = read  # type: ignore[method-assign]
        await vault.apply(TURN)
    assert store.now("shop/openai") == {"key": "new", "org": "o2", "database": "db2"}


@pytest.mark.parametrize(
    ("spare", "words"),
    [({"api_key": "new"}, "has fields that shop/openai has not: api_key"), ({}, "has no fields")],
)
async def test_a_standby_that_would_change_nothing_that_is_read_is_refused_before_anything_is_done(
    spare: dict[str, object], words: str
) -> None:
    store = vault_kv.Store({**shop().secrets, "shop/spare": [spare]})
    async with switch(store) as vault:
        with pytest.raises(Refused, match=words) as caught:
            await vault.snapshot(TURN)
        assert caught.value.reason is Reason.REJECTED
    assert len(store.secrets["shop/openai"]) == 1


async def test_a_version_that_is_gone_cannot_be_put_back_and_nothing_is_written() -> None:
    store = shop()
    async with switch(store) as vault:
        before = await vault.snapshot(TURN)
        await vault.apply(TURN)
        store.secrets["shop/openai"][0] = None
        with pytest.raises(Refused, match="version 1 of shop/openai: Vault holds no such secret"):
            await vault.undo(TURN, before)
    assert store.now("shop/openai") == {"key": "new", "org": "o2", "database": "db1"}


async def test_a_token_without_the_right_is_told_from_a_wrong_one() -> None:
    store = shop()
    store.readable = {TURN.secret}
    async with switch(store) as vault:
        with pytest.raises(Refused) as caught:
            await vault.snapshot(TURN)
    assert caught.value.reason is Reason.FORBIDDEN


async def test_another_mount_is_a_setting() -> None:
    store = shop()
    async with switch(store, mount="kv") as vault:
        await vault.apply(TURN)
    assert store.now("shop/openai") == {"key": "new", "org": "o2", "database": "db1"}


async def test_nobody_at_the_address_or_no_certificates_is_a_matter_of_the_network() -> None:
    for ca_file in ("", "/nowhere/ca.pem"):
        vault = VaultSwitch("vault", TOKEN, base_url="https://127.0.0.1:9", timeout_s=2, ca_file=ca_file)
        with pytest.raises(Retryable) as caught:
            await vault.snapshot(TURN)
        await vault.close()
        assert caught.value.reason is Reason.NETWORK


@pytest.mark.parametrize(
    ("config", "secret", "words"),
    [
        ({"kind": "vualt"}, "t", "kind 'vualt' is not one of"),
        ({"kind": "vault"}, "t", "base_url is missing"),
        ({"kind": "webhook", "base_url": "https://x"}, "", "the secret is missing"),
        ({"kind": "webhook", "base_url": "https://x"}, "whsec_", "cannot sign"),
        ({"kind": "aws_secrets"}, "AKIA:", "ACCESS_KEY_ID:SECRET"),
    ],
)
def test_a_switch_that_cannot_be_made_says_what_to_mend(config: dict[str, str], secret: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        build_switch("mine", SwitchConfig.model_validate(config), SecretStr(secret))
    assert str(caught.value).startswith("keyfuse.yaml, switches.mine: ")


@pytest.mark.parametrize(("kind", "package", "extra"), [("vault", "hvac", "vault"), ("aws_secrets", "boto3", "aws")])
def test_a_package_that_is_missing_is_named(
    kind: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for part in ("vault_api", "aws_api"):
        monkeypatch.delitem(sys.modules, f"containment.providers.{part}", raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ValueError, match=rf"pip install keyfuse\[{extra}\]"):
        build_switch("mine", SwitchConfig(kind=kind, base_url="https://x"), TOKEN if kind == "vault" else None)


async def test_every_kind_is_built_from_its_settings() -> None:
    signing = SecretStr("whsec_" + "cGxhaW5seS1zZWNyZXQtMDEyMzQ1Njc4OQ==\n")
    for kind, secret in (("vault", TOKEN), ("aws_secrets", None), ("webhook", signing)):
        made = build_switch("mine", SwitchConfig(kind=kind, base_url="https://x"), secret)
        assert made.name == "mine"
        await made.close()
