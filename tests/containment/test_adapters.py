"""What only one of the providers does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from anthropic.types.organization import APIKey
from pydantic import SecretStr

from containment.providers.anthropic import AnthropicProvider
from containment.providers.base import StepSpec, reversibility
from containment.providers.build import KINDS, build_provider, steps_configured
from containment.providers.errors import Refused
from containment.providers.redact import redact
from containment.providers.sandbox import SandboxProvider
from containment.sandbox_server import create_sandbox
from schemas.config.wiring import ProviderConfig
from schemas.records import Step
from tests.containment.servers import anthropic, google, litellm
from tests.containment.servers.serve import Faulty, serving

SECRET = SecretStr("plainly-secret")
OWN_FORM = {  # of kinds whose secret is more than a word
    "azure": SecretStr('{"tenant_id": "t", "client_id": "c", "client_secret": "plainly-secret"}'),
    "aws": SecretStr("AKIAEXAMPLEKEYFUSE23:plainly-secret"),
    "google": SecretStr(google.key_file("plainly-secret", "http://127.0.0.1:9")),
    "webhook": SecretStr("whsec_cGxhaW5seS1zZWNyZXQ="),
}
OWN_STEPS: dict[str, Any] = {  # of kinds whose steps are declared
    "webhook": {"steps": {"disable": {"reversible": True}}},
    "command": {"steps": {"disable": {"reversible": True}}, "command": ("/bin/true",)},
}


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

    @pytest.mark.parametrize("ref", ["../users", "", "apikey_", "apikey_1/x", "apikey_1\n", "sk-ant-api03-abc"])
    async def test_a_reference_of_another_form_is_refused_without_a_call_and_offers_nothing(self, ref: str) -> None:
        provider = AnthropicProvider("anthropic", SECRET, base_url="http://127.0.0.1:9")
        assert provider.steps_of(ref) == {}
        with pytest.raises(Refused, match="apikey_"):
            await provider.snapshot(ref)
        await provider.close()

    async def test_our_server_answers_in_the_shape_of_the_clients_own_models(self) -> None:
        async with serving(Faulty(anthropic.create("plainly-secret", {"apikey_1": "active"}))) as url:
            headers = {"x-api-key": "plainly-secret", "anthropic-version": "2023-06-01"}
            async with httpx.AsyncClient(base_url=url, headers=headers) as client:
                answer = await client.get("/v1/organizations/api_keys/apikey_1")
        assert APIKey.model_validate_json(answer.content, strict=True).status == "active"


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
            probed = await practice.provider.probe("disable", "fp1:a")
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
        secret = OWN_FORM.get(kind, SECRET)
        config = ProviderConfig(kind=kind, base_url="http://127.0.0.1:9", **OWN_STEPS.get(kind, {}))
        provider = build_provider("mine", config, secret)
        assert provider.name == "mine"
        assert provider.steps == steps_configured(config) != {}
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
            (ProviderConfig(kind="aws"), SECRET, "ACCESS_KEY_ID:SECRET"),
            (ProviderConfig(kind="google"), SECRET, "key file"),
            (ProviderConfig(kind="kong"), SECRET, "base_url is missing"),
            (
                ProviderConfig(kind="kong", base_url="https://kong", ca_file="/nowhere"),
                SECRET,
                "ca_file /nowhere cannot",
            ),
            (
                ProviderConfig(kind="envoy", base_url="https://api", ca_file=__file__),
                SECRET,
                "ca_file .* cannot be used",
            ),
            (ProviderConfig(kind="webhook", base_url="https://a"), SecretStr("whsec_YQ=="), "steps is missing"),
            (ProviderConfig(kind="webhook", base_url="https://a", **OWN_STEPS["webhook"]), SECRET, "cannot sign"),
            (ProviderConfig(kind="command", **OWN_STEPS["webhook"]), None, "command is missing"),
            (
                ProviderConfig(kind="command", command=("/bin/x", "-k", "plainly-secret"), **OWN_STEPS["webhook"]),
                SECRET,
                "every user of this machine",
            ),
            (
                ProviderConfig(kind="command", command=("/bin/x",), steps={"revoke": {"reversible": True}}),
                None,
                "revoke cannot be reversible",
            ),
        ],
    )
    def test_what_is_missing_is_said_in_the_words_of_the_file(
        self, config: ProviderConfig, secret: SecretStr | None, words: str
    ) -> None:
        with pytest.raises(ValueError, match=f"keyfuse.yaml, providers.mine: .*{words}"):
            build_provider("mine", config, secret)

    async def test_a_line_break_after_the_secret_in_its_file_does_no_harm(self) -> None:
        async with serving(Faulty(litellm.create("plainly-secret", {litellm.KEY: None}))) as url:
            config = ProviderConfig(kind="litellm", base_url=url)
            provider = build_provider("mine", config, SecretStr("plainly-secret\n"))
            assert (await provider.snapshot(litellm.KEY))["blocked"] == "no"
            await provider.close()

    def test_what_reaches_further_than_the_key_is_no_choice_without_a_person(self) -> None:
        steps: dict[Step, StepSpec] = {
            "throttle": StepSpec(True, "project", 1, ""), "block": StepSpec(True, "account", 1, ""),
            "disable": StepSpec(True, "key", 1, ""), "revoke": StepSpec(False, "key", 1, ""),
        }  # fmt: skip
        assert reversibility(steps) == {"disable": True, "revoke": False}
        assert reversibility(steps, wider=True) == {
            "throttle": True, "block": True, "disable": True, "revoke": False
        }  # fmt: skip
        assert reversibility({}) == {}


@pytest.mark.parametrize(
    ("said", "clean"),
    [
        ("bad key plainly-secret!", "bad key ***!"),
        ("Incorrect API key provided: sk-admin*************89ab.", "Incorrect API key provided: ***"),
        ("header Authorization: Bearer abc123", "header Authorization: ***"),
        ("no key AIzaSyA1234567890abcdefg here", "no key *** here"),
        ("id AKIAIOSFODNN7EXAMPLE", "id ***"),
        ("signed with whsec_cGxhaW5seS1z", "signed with ***"),
        ("key_abc in proj_x is gone", "key_abc in proj_x is gone"),
        ("two\n  lines", "two lines"),
        ("x" * 1000, "x" * 300),
    ],
)
def test_what_a_provider_says_is_shown_without_keys(said: str, clean: str) -> None:
    assert redact(said, SECRET) == clean
