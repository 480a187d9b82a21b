"""Vault: leases and paths, and what its answers mean."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from containment.providers.build import build_provider, steps_configured
from containment.providers.errors import Reason, Refused, Retryable
from containment.providers.vault import VaultProvider
from schemas.config.wiring import ProviderConfig
from tests.containment.servers import openbao, vault
from tests.containment.servers.serve import Faulty, Misbehave, body, serving

SECRET = SecretStr("plainly-secret")
ONE, TWO, OTHER = "openai/creds/shop/h31Z7", "openai/creds/shop/k92Q4", "openai/creds/shops/z1"


@contextlib.asynccontextmanager
async def lender(
    leases: set[str], *, sudo: bool = True, stuck: frozenset[str] = frozenset()
) -> AsyncIterator[tuple[VaultProvider, Faulty]]:
    faulty = Faulty(vault.create("plainly-secret", leases, sudo=sudo, stuck=stuck))
    async with serving(faulty) as url:
        provider = VaultProvider("vault", SECRET, base_url=f"{url}/")
        yield provider, faulty
        await provider.close()


async def test_one_lease_ends_and_its_neighbours_go_on() -> None:
    leases = {ONE, TWO, OTHER}
    async with lender(leases) as (provider, _):
        assert await provider.snapshot(ONE) == {"expires": "2026-10-30T11:18:11.228946708Z"}
        await provider.apply("revoke", ONE)
        assert (await provider.in_effect("revoke", ONE)).state == "yes"
        assert (await provider.in_effect("revoke", TWO)).state == "no"
    assert leases == {TWO, OTHER}


async def test_a_path_ends_all_below_it_and_nothing_beside_it() -> None:
    leases = {ONE, TWO, OTHER}
    async with lender(leases) as (provider, _):
        assert await provider.snapshot("prefix:openai/creds/shop") == {"leases_or_paths": "2"}
        await provider.apply("revoke", "prefix:openai/creds/shop")
        assert (await provider.in_effect("revoke", "prefix:openai/creds/shop")).state == "yes"
    assert leases == {OTHER}


async def test_a_path_reaches_further_than_a_lease_and_says_so() -> None:
    async with lender(set()) as (provider, _):
        assert provider.steps_of(ONE)["revoke"].scope == "key"
        assert provider.steps_of("prefix:openai/creds/shop")["revoke"].scope == "project"


async def test_a_lease_whose_key_could_not_be_deleted_is_still_held() -> None:
    async with lender({ONE}, stuck=frozenset({ONE})) as (provider, _):
        with pytest.raises(Refused, match="provider unreachable"):
            await provider.apply("revoke", ONE)
        assert (await provider.in_effect("revoke", ONE)).state == "no"


@pytest.mark.parametrize("ref", [ONE, "prefix:openai/creds/shop"])
async def test_a_token_without_the_right_is_told_from_a_wrong_token(ref: str) -> None:
    async with lender({ONE}, sudo=False) as (provider, faulty):
        faulty.faults.extend([Misbehave(403, body({"errors": ["permission denied"]}))] * (ref == ONE))
        with pytest.raises(Refused) as caught:
            await provider.snapshot(ref)
        assert caught.value.reason is Reason.FORBIDDEN
        wrong = body({"errors": ["2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"]})
        faulty.faults.append(Misbehave(403, wrong))
        with pytest.raises(Refused) as caught:
            await provider.snapshot(ref)
        assert caught.value.reason is Reason.BAD_CREDENTIALS


@pytest.mark.parametrize(
    ("status", "answer", "ref"),
    [
        (404, b"<html>no such page</html>", ONE),
        (404, body({"errors": []}), ONE),  # said of lists, not of leases
        (400, body({"errors": ["lease_id must be specified"]}), ONE),
        (400, body({"errors": ["invalid lease"]}), "prefix:openai/creds/shop"),
        (404, body({"errors": ["no handler for route 'sys/leases/lookup/openai'"]}), "prefix:openai/creds/shop"),
        (404, b"<html>no such page</html>", "prefix:openai/creds/shop"),
        (503, body({"errors": ["Vault is sealed"]}), ONE),
        (307, b"", ONE),  # a standby that does not forward: the token goes nowhere else
    ],
)
async def test_only_vaults_own_words_mean_that_a_lease_is_gone(status: int, answer: bytes, ref: str) -> None:
    headers = {"content-type": "application/json", "location": "/v1/sys/leases/lookup"}
    async with lender({ONE}) as (provider, faulty):
        faulty.faults.append(Misbehave(status, answer, headers))
        with pytest.raises((Refused, Retryable)):
            print(await provider.in_effect("revoke", ref))  # noqa: T201 - shown when the test fails
        assert len(faulty.requests) == 1


@pytest.mark.parametrize(
    "ref",
    [
        "", "prefix:", "prefix:/", "openai", "prefix:openai", "/openai/creds/x", "openai/creds/", "openai//x",
        "openai/../sys/x", "prefix:auth/token/create", "prefix:sys/leases", "openai/creds/a b", "openai/creds/x?y=1",
    ],
)  # fmt: skip
async def test_what_is_no_reference_is_refused_without_a_call(ref: str) -> None:
    async with lender({ONE}) as (provider, faulty):
        assert provider.steps_of(ref) == {}
        for call in (provider.snapshot(ref), provider.apply("revoke", ref), provider.in_effect("revoke", ref)):
            with pytest.raises(Refused) as caught:
                await call
            assert caught.value.reason is Reason.BAD_REF
        assert faulty.requests == []


def test_a_package_that_is_missing_is_named_and_the_steps_are_known_without_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for part in ("vault", "vault_leases", "vault_api"):
        monkeypatch.delitem(sys.modules, f"containment.providers.{part}", raising=False)
    monkeypatch.setitem(sys.modules, "hvac", None)
    config = ProviderConfig(kind="vault", base_url="http://127.0.0.1:9")
    assert "revoke" in steps_configured(config)
    with pytest.raises(ValueError, match=r"providers\.mine: .*pip install keyfuse\[vault\]"):
        build_provider("mine", config, SECRET)


async def test_nobody_at_the_address_is_a_matter_of_the_network() -> None:
    provider = VaultProvider("vault", SECRET, base_url="http://127.0.0.1:9", timeout_s=2)
    with pytest.raises(Retryable) as caught:
        await provider.snapshot(ONE)
    await provider.close()
    assert caught.value.reason is Reason.NETWORK


async def test_a_wrong_token_that_is_denied_like_a_right_one_is_told_by_looking_itself_up() -> None:
    for secret, reason in (("plainly-secret", Reason.FORBIDDEN), ("another", Reason.BAD_CREDENTIALS)):
        app = vault.create("plainly-secret", {ONE}, sudo=False, names_the_fault=False)
        async with serving(Faulty(app)) as url:
            provider = VaultProvider("vault", SecretStr(secret), base_url=url)
            with pytest.raises(Refused) as caught:
                await provider.snapshot("prefix:openai/creds/shop")
            await provider.close()
        assert caught.value.reason is reason


class TestTheStandIn:
    """Our server beside OpenBao: the same answers to the same requests."""

    REQUESTS = (
        ("PUT", "/lookup", {"lease_id": "LEASE"}),
        ("PUT", "/lookup", {"lease_id": "LEASEx"}),
        ("LIST", "/lookup/pki/issue/shop", None),
        ("LIST", "/lookup/pki/issue", None),
        ("LIST", "/lookup/pki/issue/nobody", None),
        ("POST", "/revoke", {"lease_id": "LEASEx", "sync": True}),
        ("POST", "/revoke", {"lease_id": "LEASE", "sync": True}),
        ("PUT", "/lookup", {"lease_id": "LEASE"}),
        ("POST", "/revoke-prefix/pki/issue/nobody", {"sync": True}),
        ("POST", "/revoke-prefix/pki/issue/shop", {"sync": True}),
        ("LIST", "/lookup/pki/issue/shop", None),
    )

    async def answers(self, url: str, lease: str, token: str) -> list[tuple[int, Any]]:
        headers = {"X-Vault-Token": token, "X-Vault-Request": "true"}
        async with httpx.AsyncClient(base_url=f"{url}/v1/sys/leases", headers=headers) as client:
            found = []
            for method, path, body_ in self.REQUESTS:
                asked = body_ and {name: lease + "x" * (value == "LEASEx") if isinstance(value, str) else value
                                   for name, value in body_.items()}  # fmt: skip
                answer = await client.request(method, path, json=asked)
                found.append((answer.status_code, told(answer.json()) if answer.content else None))
            return found

    async def test_it_answers_as_openbao_does(self) -> None:
        async with openbao.serving_openbao("plainly-secret") as real:
            lease = await real.lend()
            told_by_it = await self.answers(real.url, lease, "plainly-secret")
            denied_by_it = await self.answers(real.url, lease, "another")
        ours = vault.create("plainly-secret", {lease}, names_the_fault=False)
        async with serving(Faulty(ours)) as url:
            assert await self.answers(url, lease, "plainly-secret") == told_by_it
            assert await self.answers(url, lease, "another") == denied_by_it
        assert {status for status, _ in told_by_it} == {200, 204, 400, 404}


def told(answer: Any) -> Any:
    """What an answer says: errors and what stands under `data`, but for what differs each time."""
    data = answer.get("data")
    if isinstance(data, dict):
        same = {"id", "path", "keys"}
        data = {name: value if name in same else type(value).__name__ for name, value in data.items()}
    return {"errors": answer.get("errors"), "data": data}
