"""What only one of the providers does."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from pydantic import SecretStr

from containment.providers.anthropic import AnthropicProvider
from containment.providers.base import offered
from containment.providers.build import KINDS, build_provider
from containment.providers.errors import Reason, Refused
from containment.providers.litellm import LiteLLMProvider
from containment.providers.openai import OpenAIProvider
from containment.providers.redact import redact
from containment.providers.sandbox import SandboxProvider
from containment.sandbox_server import create_sandbox
from schemas.config.wiring import ProviderConfig
from tests.containment.servers import anthropic, litellm, openai
from tests.containment.servers.serve import Faulty, Misbehave, serving

SECRET = SecretStr("plainly-secret")


class TestOpenAI:
    async def test_a_service_account_key_that_cannot_be_deleted_says_what_to_do(self) -> None:
        app = openai.create("plainly-secret", {"key_sa"}, service_account_keys=frozenset({"key_sa"}))
        async with serving(Faulty(app)) as url:
            provider = OpenAIProvider("openai", SECRET, base_url=url + "/v1")
            with pytest.raises(Refused, match="delete the service account in the console") as caught:
                await provider.apply("revoke", "proj_shop/key_sa")
            await provider.close()
        assert caught.value.reason is Reason.SERVICE_ACCOUNT

    @pytest.mark.parametrize("ref", ["key_live", "proj_shop", "proj_shop/", "/key_live", "a/b", "proj_x/key_y/z", ""])
    async def test_a_reference_of_another_form_is_refused_without_a_call(self, ref: str) -> None:
        provider = OpenAIProvider("openai", SECRET, base_url="http://127.0.0.1:9/v1")
        with pytest.raises(Refused) as caught:
            await provider.apply("revoke", ref)
        await provider.close()
        assert caught.value.reason is Reason.BAD_REF


class TestAnthropic:
    @pytest.mark.parametrize(
        ("status", "disabled", "revoked"),
        [("active", "no", "no"), ("inactive", "yes", "no"), ("archived", "yes", "yes"), ("expired", "yes", "no")],
    )
    async def test_each_status_is_read_as_what_it_means(self, status: str, disabled: str, revoked: str) -> None:
        async with serving(Faulty(anthropic.create("plainly-secret", {"apikey_1": status}))) as url:
            provider = AnthropicProvider("anthropic", SECRET, base_url=url)
            seen = [(await provider.in_effect(step, "apikey_1")).state for step in ("disable", "revoke")]
            await provider.close()
        assert seen == [disabled, revoked]

    async def test_disabling_does_not_touch_an_archived_key(self) -> None:
        faulty = Faulty(anthropic.create("plainly-secret", {"apikey_1": "archived"}))
        async with serving(faulty) as url:
            provider = AnthropicProvider("anthropic", SECRET, base_url=url)
            assert await provider.apply("disable", "apikey_1") == "already archived"
            with pytest.raises(Refused, match="archived key cannot come back"):
                await provider.undo("disable", "apikey_1", {"status": "active"})
            await provider.close()
        assert {method for method, _ in faulty.requests} == {"GET"}

    async def test_a_reference_of_another_form_is_refused_without_a_call(self) -> None:
        provider = AnthropicProvider("anthropic", SECRET, base_url="http://127.0.0.1:9")
        with pytest.raises(Refused, match="apikey_"):
            await provider.snapshot("../users")
        await provider.close()


class TestLiteLLM:
    async def test_old_versions_answer_401_for_an_unknown_key_and_are_understood(self) -> None:
        async with serving(Faulty(litellm.create("plainly-secret", {}, unknown_status=401))) as url:
            provider = LiteLLMProvider("litellm", SECRET, base_url=url)
            with pytest.raises(Refused) as caught:
                await provider.apply("block", "99ef00")
            await provider.close()
        assert caught.value.reason is Reason.UNKNOWN_KEY

    async def test_a_key_value_in_the_registry_is_refused_and_not_repeated(self) -> None:
        provider = LiteLLMProvider("litellm", SECRET, base_url="http://127.0.0.1:9")
        with pytest.raises(Refused, match="never its value") as caught:
            await provider.apply("block", "sk-abcdef")
        await provider.close()
        assert "abcdef" not in str(caught.value)

    async def test_an_admin_key_does_not_follow_a_redirect(self) -> None:
        faulty = Faulty(litellm.create("plainly-secret", {"88dc28": False}))
        faulty.faults.append(Misbehave(302, b"", {"location": "http://127.0.0.1:9/"}))
        async with serving(faulty) as url:
            provider = LiteLLMProvider("litellm", SECRET, base_url=url)
            with pytest.raises(Refused):
                await provider.snapshot("88dc28")
            await provider.close()
        assert len(faulty.requests) == 1


class Practice:
    """The sandbox with a clock in our hands."""

    def __init__(self, url: str, clock: list[float]) -> None:
        self.provider = SandboxProvider("sandbox", SECRET, base_url=url)
        self.caller = httpx.AsyncClient(base_url=url)
        self.clock = clock

    async def call(self, credential: str = "the-key-itself", path: str = "/v1/chat/completions") -> int:
        return (await self.caller.post(path, headers={"Authorization": f"Bearer {credential}"})).status_code

    async def register(self, key_id: str = "fp1:a", secret: str | None = "the-key-itself") -> int:
        headers = {"Authorization": "Bearer plainly-secret"}
        new = {"key_id": key_id, "secret": secret}
        return (await self.caller.post("/admin/keys", headers=headers, json=new)).status_code


class TestSandbox:
    @pytest.fixture
    async def practice(self) -> AsyncIterator[Practice]:
        clock = [0.0]
        app = create_sandbox(SECRET, propagation_s=5, now=lambda: clock[0])
        async with serving(Faulty(app)) as url:
            practice = Practice(url, clock)
            await practice.register()
            yield practice
            await practice.provider.close()
            await practice.caller.aclose()

    async def test_it_really_refuses_a_disabled_key_once_the_news_has_spread(self, practice: Practice) -> None:
        await practice.provider.apply("disable", "fp1:a")
        assert (await practice.provider.in_effect("disable", "fp1:a")).state == "yes"
        seen = []
        for now_s in (0.0, 4.9, 5.0):
            practice.clock[0] = now_s
            probed = await practice.provider.probe("fp1:a")
            assert probed is not None
            seen.append((await practice.call(), await practice.call(path="/v1/use"), probed.state))
        assert seen == [(200, 200, "no"), (200, 200, "no"), (401, 401, "yes")]

    async def test_it_serves_an_enabled_key_again(self, practice: Practice) -> None:
        before = await practice.provider.snapshot("fp1:a")
        await practice.provider.apply("disable", "fp1:a")
        practice.clock[0] = 10
        assert await practice.call() == 401
        await practice.provider.undo("disable", "fp1:a", before)
        practice.clock[0] = 20
        assert await practice.call() == 200

    async def test_a_throttled_key_gets_one_call_a_minute(self, practice: Practice) -> None:
        await practice.provider.apply("throttle", "fp1:a")
        practice.clock[0] = 60
        assert [await practice.call() for _ in range(3)] == [200, 429, 429]
        practice.clock[0] = 120
        assert await practice.call() == 200

    @pytest.mark.parametrize("credential", ["somebody-else", "fp1:a", "fp1:b"])
    async def test_it_serves_nobody_it_does_not_know(self, practice: Practice, credential: str) -> None:
        assert await practice.call(credential) == 401

    async def test_a_key_without_a_secret_is_called_by_its_id(self, practice: Practice) -> None:
        await practice.register("fp1:b", None)
        assert await practice.call("fp1:b") == 200

    async def test_its_admin_side_is_closed_to_strangers(self, practice: Practice) -> None:
        answer = await practice.caller.post("/admin/keys/fp1:a/disable")
        assert answer.status_code == 401
        assert (await practice.provider.snapshot("fp1:a"))["status"] == "active"

    async def test_a_revoked_key_stays_revoked(self, practice: Practice) -> None:
        await practice.provider.apply("revoke", "fp1:a")
        await practice.provider.apply("disable", "fp1:a")
        headers = {"Authorization": "Bearer plainly-secret"}
        assert (await practice.caller.post("/admin/keys/fp1:a/enable", headers=headers)).status_code == 400
        assert (await practice.provider.snapshot("fp1:a"))["status"] == "revoked"


class TestBuild:
    @pytest.mark.parametrize("kind", KINDS)
    async def test_every_kind_is_built_under_its_configured_name(self, kind: str) -> None:
        provider = build_provider("mine", ProviderConfig(kind=kind, base_url="http://127.0.0.1:9"), SECRET)
        assert provider.name == "mine"
        assert offered(provider)
        assert "plainly-secret" not in repr(provider)
        await provider.close()

    @pytest.mark.parametrize(
        ("config", "secret", "words"),
        [
            (ProviderConfig(kind="acme"), SECRET, "kind 'acme' is not one of"),
            (ProviderConfig(kind="litellm"), SECRET, "base_url is missing"),
            (ProviderConfig(kind="sandbox"), SECRET, "base_url is missing"),
            (ProviderConfig(kind="openai"), None, "admin key is missing"),
            (ProviderConfig(kind="openai"), SecretStr(""), "admin key is missing"),
        ],
    )
    def test_what_is_missing_is_said_in_the_words_of_the_file(
        self, config: ProviderConfig, secret: SecretStr | None, words: str
    ) -> None:
        with pytest.raises(ValueError, match=f"keyfuse.yaml, providers.mine: .*{words}"):
            build_provider("mine", config, secret)

    async def test_a_line_break_after_the_secret_in_its_file_does_no_harm(self) -> None:
        async with serving(Faulty(litellm.create("plainly-secret", {"88dc28": None}))) as url:
            config = ProviderConfig(kind="litellm", base_url=url)
            provider = build_provider("mine", config, SecretStr("plainly-secret\n"))
            assert await provider.snapshot("88dc28") == {"blocked": "no"}
            await provider.close()

    def test_no_provider_offers_nothing(self) -> None:
        assert offered(None) == {}


@pytest.mark.parametrize(
    ("said", "clean"),
    [
        ("bad key plainly-secret!", "bad key ***!"),
        ("Incorrect API key provided: sk-admin*************89ab.", "Incorrect API key provided: ***"),
        ("header Authorization: Bearer abc123", "header Authorization: ***"),
        ("no key AIzaSyA1234567890abcdefg here", "no key *** here"),
        ("id AKIAIOSFODNN7EXAMPLE", "id ***"),
        ("key_abc in proj_x is gone", "key_abc in proj_x is gone"),
        ("two\n  lines", "two lines"),
        ("x" * 1000, "x" * 300),
    ],
)
def test_what_a_provider_says_is_shown_without_keys(said: str, clean: str) -> None:
    assert redact(said, SECRET) == clean
