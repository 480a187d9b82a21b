"""Azure: whose key it is, what is compared, and what is never kept."""

from __future__ import annotations

import contextlib
import json
import logging
import re
import sys
from collections.abc import AsyncIterator, Callable
from hashlib import sha256
from pathlib import Path

import pytest
from azure.core.exceptions import ClientAuthenticationError
from azure.identity.aio import ClientSecretCredential, DefaultAzureCredential
from pydantic import SecretStr

from containment.providers.azure import AzureProvider, shares_with
from containment.providers.azure_identity import credential_from
from containment.providers.build import build_provider, steps_configured
from containment.providers.errors import Reason, Refused, Retryable
from schemas.config.wiring import ProviderConfig
from schemas.records import Step
from tests.containment.keeper_benches import FixedToken, azure_ref
from tests.containment.servers import azure
from tests.containment.servers.serve import Faulty, serving

SECRET = SecretStr("plainly-secret")
SHOP = azure_ref("shop")
NEEDED: list[tuple[Step, frozenset[str]]] = [
    ("block", frozenset({"read", "write"})),
    ("revoke", frozenset({"read", "listKeys/action", "regenerateKey/action"})),
]
PAGE = Path(__file__).parents[2] / "docs/providers/azure.md"
TENANT = "11111111-2222-4333-8444-555555555555"


class NoToken(FixedToken):
    """A credential that Entra ID does not know."""

    async def get_token(self, *scopes: str, **options: object) -> None:  # type: ignore[override]  # it never returns
        raise ClientAuthenticationError("AADSTS7000215: Invalid client secret provided: plainly-secret")


async def run(provider: AzureProvider, step: Step) -> None:
    await provider.snapshot(SHOP)
    await provider.apply(step, SHOP)
    await provider.in_effect(step, SHOP)


@contextlib.asynccontextmanager
async def cloud(
    account: azure.Account,
    *,
    allowed: Callable[[str], bool] = lambda action: True,
    credential: FixedToken | None = None,
) -> AsyncIterator[tuple[AzureProvider, Faulty]]:
    faulty = Faulty(azure.create("token", {"shop": account}, allowed=allowed))
    async with serving(faulty) as url:
        given = credential or FixedToken("token")
        provider = AzureProvider("azure", SECRET, credential=given, base_url=url)
        yield provider, faulty
        await provider.close()
        assert given.closed


class TestWithoutFingerprint:
    async def test_a_key_is_made_anew_once_however_often_it_is_asked_for(self) -> None:
        account = azure.Account()
        async with cloud(account) as (provider, _):
            await provider.snapshot(SHOP)
            assert (await provider.in_effect("revoke", SHOP)).state == "no"
            assert await provider.apply("revoke", SHOP) == "Key1 was made anew"
            assert await provider.apply("revoke", SHOP) == "already made anew"
            assert (await provider.in_effect("revoke", SHOP)).state == "yes"
        assert account.generation == {"Key1": 2, "Key2": 1}

    async def test_the_next_incident_looks_at_the_new_key(self) -> None:
        account = azure.Account()
        async with cloud(account) as (provider, _):
            for _ in range(2):
                await provider.snapshot(SHOP)
                assert (await provider.in_effect("revoke", SHOP)).state == "no"
                await provider.apply("revoke", SHOP)
        assert account.generation == {"Key1": 3, "Key2": 1}


class TestWithFingerprint:
    async def test_after_a_restart_it_is_known_that_the_leaked_value_is_gone(self) -> None:
        account = azure.Account()
        ref = azure_ref("shop", account.key("Key1"))
        async with cloud(account) as (provider, _):
            await provider.apply("revoke", ref)
        async with cloud(account) as (restarted, _):
            assert (await restarted.in_effect("revoke", ref)).state == "yes"
            assert await restarted.apply("revoke", ref) == "already made anew"
        assert account.generation == {"Key1": 2, "Key2": 1}

    async def test_a_value_registered_under_the_other_key_is_not_taken_for_gone_and_nothing_is_cut(self) -> None:
        account = azure.Account()
        ref = azure_ref("shop", account.key("Key2"))  # says Key1
        async with cloud(account) as (provider, _):
            assert (await provider.in_effect("revoke", ref)).state == "no"
            with pytest.raises(Refused, match="the account's other key") as caught:
                await provider.apply("revoke", ref)
        assert (caught.value.reason, account.generation) == (Reason.BAD_REF, {"Key1": 1, "Key2": 1})


class TestBlock:
    @pytest.mark.parametrize("before", [None, False])
    async def test_it_holds_both_keys_and_lets_go_of_them(self, before: bool | None) -> None:
        account = azure.Account(disable_local_auth=before)
        async with cloud(account) as (provider, _):
            saved = await provider.snapshot(SHOP)
            await provider.apply("block", SHOP)
            assert account.disable_local_auth is True
            await provider.undo("block", SHOP, saved)
            assert account.disable_local_auth is False
            assert await provider.snapshot(SHOP) == saved

    async def test_it_does_not_count_while_azure_is_still_at_it(self) -> None:
        account = azure.Account(state="Accepted")
        async with cloud(account) as (provider, _):
            await provider.apply("block", SHOP)
            seen = await provider.in_effect("block", SHOP)
            assert (seen.state, seen.words) == ("unknown", "Azure is not done with the account (Accepted)")
            account.state = "Succeeded"
            assert (await provider.in_effect("block", SHOP)).state == "yes"

    async def test_while_it_holds_no_key_is_listed_so_none_is_revoked(self) -> None:
        account = azure.Account(disable_local_auth=True)
        async with cloud(account) as (provider, _):
            assert await provider.snapshot(SHOP) == {"key_access": "off", "key_sha256": ""}
            assert (await provider.in_effect("revoke", SHOP)).state == "unknown"
            with pytest.raises(Refused, match="undo the block first"):
                await provider.apply("revoke", SHOP)
        assert account.generation == {"Key1": 1, "Key2": 1}


class TestPermissions:
    """The page names four actions; a step needs its own of them, and no other."""

    def test_the_role_on_the_page_has_what_the_steps_need_and_no_more(self) -> None:
        found = re.search(r"```json\n(.*?)```", PAGE.read_text(), re.DOTALL)
        assert found
        actions = {
            action.removeprefix("Microsoft.CognitiveServices/accounts/") for action in json.loads(found[1])["Actions"]
        }
        assert actions == frozenset().union(*(needed for _, needed in NEEDED))

    @pytest.mark.parametrize(("step", "actions"), NEEDED)
    async def test_a_step_needs_no_other_action(self, step: Step, actions: frozenset[str]) -> None:
        async with cloud(azure.Account(), allowed=actions.__contains__) as (provider, _):
            await run(provider, step)
            assert (await provider.in_effect(step, SHOP)).state == "yes"

    @pytest.mark.parametrize(
        ("step", "missing"), [(step, each) for step, actions in NEEDED for each in sorted(actions)]
    )
    async def test_a_role_that_lacks_one_is_refused_for_good(self, step: Step, missing: str) -> None:
        async with cloud(azure.Account(), allowed=lambda action: action != missing) as (provider, _):
            with pytest.raises(Refused) as caught:
                await run(provider, step)
            assert caught.value.reason is Reason.FORBIDDEN

    async def test_a_client_that_entra_id_does_not_know_is_refused_for_good_without_its_secret(self) -> None:
        async with cloud(azure.Account(), credential=NoToken("")) as (provider, faulty):
            with pytest.raises(Refused, match="no token for Azure") as caught:
                await provider.snapshot(SHOP)
            assert (caught.value.reason, faulty.requests) == (Reason.BAD_CREDENTIALS, [])
            assert "plainly-secret" not in str(caught.value)


async def test_the_keys_themselves_are_kept_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    account = azure.Account()
    caplog.set_level(logging.DEBUG)
    values = [account.key("Key1"), account.key("Key2")]
    async with cloud(account) as (provider, _):
        saved = await provider.snapshot(SHOP)
        said = [await provider.apply("revoke", SHOP), (await provider.in_effect("revoke", SHOP)).words]
        values += [account.key("Key1")]
        kept = f"{saved} {said} {provider.__dict__} {vars(provider._accounts)} {caplog.text}"
    assert saved["key_sha256"] == sha256(values[0].encode()).hexdigest()[:16]
    assert [value for value in values if value in kept] == []


async def test_a_token_goes_over_plain_http_to_no_other_machine() -> None:
    faulty = Faulty(azure.create("token", {"shop": azure.Account()}))
    async with serving(faulty) as url:
        elsewhere = url.replace("127.0.0.1", "0.0.0.0")  # reaches this machine, but does not look like it
        for base_url, refused in ((url, False), (elsewhere, True)):
            provider = AzureProvider("azure", SECRET, credential=FixedToken("token"), base_url=base_url)
            with pytest.raises(Retryable) if refused else contextlib.nullcontext():
                await provider.in_effect("block", SHOP)
            await provider.close()
    assert len(faulty.requests) == 1


@pytest.mark.parametrize(
    ("one", "other", "both_blocked", "both_revoked"),
    [
        ("shop/Key1", "shop/Key1", True, True),
        ("shop/Key1", "SHOP/Key1#0123456789abcdef", True, True),  # Azure's names know no capitals
        ("shop/Key1", "shop/Key2", True, False),
        ("shop/Key1", "stock/Key1", False, False),
        ("shop/Key1", "nonsense", False, False),
    ],
)
def test_who_else_is_hit(one: str, other: str, *, both_blocked: bool, both_revoked: bool) -> None:
    at = f"{azure.SUBSCRIPTION}/{azure.GROUP}"
    assert shares_with(f"{at}/{one}", f"{at}/{other}", step="block") is both_blocked
    assert shares_with(f"{at}/{one}", f"{at}/{other}", step="revoke") is both_revoked


@pytest.mark.parametrize(
    "ref",
    [
        "", "shop/Key1", f"{SHOP}/x", SHOP.replace("Key1", "Key3"), SHOP + "#short", SHOP + "#0123456789ABCDEF",
        SHOP.replace("shop", "../shop"), SHOP.replace("shop", "sh op"), SHOP.replace(azure.SUBSCRIPTION, "sub"),
    ],
)  # fmt: skip
async def test_a_reference_of_another_form_is_refused_without_a_call(ref: str) -> None:
    async with cloud(azure.Account()) as (provider, faulty):
        assert provider.steps_of(ref) == {}
        for call in (provider.snapshot(ref), provider.apply("block", ref), provider.in_effect("revoke", ref)):
            with pytest.raises(Refused) as caught:
                await call
            assert caught.value.reason is Reason.BAD_REF
        assert faulty.requests == []


class TestIdentity:
    @pytest.mark.parametrize(
        "fields",
        [
            {"tenant_id": TENANT, "client_id": "c", "client_secret": "plainly-secret"},
            {"tenant": TENANT, "appId": "c", "password": "plainly-secret", "displayName": "keyfuse"},
        ],
    )
    async def test_a_service_principal_is_read_in_both_spellings(self, fields: dict[str, str]) -> None:
        credential, hidden = credential_from(SecretStr(json.dumps(fields)))
        assert isinstance(credential, ClientSecretCredential)
        assert hidden.get_secret_value() == "plainly-secret"
        await credential.close()

    async def test_without_a_secret_it_is_the_machine(self) -> None:
        provider = build_provider("mine", ProviderConfig(kind="azure"), None)
        assert provider.name == "mine"
        await provider.close()
        credential, hidden = credential_from(SecretStr(""))
        assert isinstance(credential, DefaultAzureCredential)
        assert not hidden.get_secret_value()
        await credential.close()

    @pytest.mark.parametrize(
        "text", ["plainly-secret", "{}", '{"tenant_id": "t", "client_id": "plainly-secret"}', "[]"]
    )
    def test_anything_else_is_said_in_the_words_of_the_file_and_not_repeated(self, text: str) -> None:
        with pytest.raises(ValueError, match=r"keyfuse.yaml, providers.mine: the admin key must be JSON") as caught:
            build_provider("mine", ProviderConfig(kind="azure"), SecretStr(text))
        assert "plainly-secret" not in str(caught.value)


def test_a_package_that_is_missing_is_named_and_the_steps_are_known_without_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for part in ("azure", "azure_arm", "azure_identity"):
        monkeypatch.delitem(sys.modules, f"containment.providers.{part}", raising=False)
    monkeypatch.setitem(sys.modules, "azure.identity.aio", None)
    config = ProviderConfig(kind="azure", base_url="http://127.0.0.1:9")
    assert "revoke" in steps_configured(config)
    with pytest.raises(ValueError, match=r"providers\.mine: .*pip install keyfuse\[azure\]"):
        build_provider("mine", config, SECRET)
