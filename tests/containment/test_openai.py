"""What only OpenAI does: service accounts, and settings that reach a whole project."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from openai.types.admin.organization import Project
from openai.types.admin.organization.projects import (
    ProjectAPIKey,
    ProjectModelPermissions,
    ProjectRateLimit,
    ProjectServiceAccount,
    ProjectSpendLimit,
)
from openai.types.admin.organization.projects.rate_limit_update_rate_limit_params import RateLimitUpdateRateLimitParams
from pydantic import BaseModel, SecretStr

from containment.providers.build import steps_configured
from containment.providers.errors import Reason, Refused, Retryable
from containment.providers.openai import STEPS, OpenAIProvider
from containment.providers.openai_limits import SLOWED
from schemas.config.wiring import ProviderConfig
from schemas.records import Step
from tests.containment.servers import openai
from tests.containment.servers.serve import Faulty, Misbehave, serving

SECRET = SecretStr("plainly-secret")
REF = "proj_shop/key_live"
ACCOUNT = "proj_shop/sa/svc_acct_1"
FAST = {"max_requests_per_1_minute": 500, "max_tokens_per_1_minute": 30_000}


class Bench:
    def __init__(self, url: str, faulty: Faulty, project: openai.Project) -> None:
        self.provider = OpenAIProvider("openai", SECRET, base_url=url + "/v1", degrade_to=("cheap", "small"))
        self.url = url
        self.faulty = faulty
        self.project = project

    async def state(self, step: Step, ref: str = REF) -> str:
        return (await self.provider.in_effect(step, ref)).state

    async def get(self, path: str) -> Any:
        headers = {"Authorization": "Bearer plainly-secret"}
        async with httpx.AsyncClient(base_url=self.url, headers=headers) as client:
            return (await client.get(f"/v1/organization/projects/proj_shop{path}")).json()

    def changes(self) -> int:
        return sum(method != "GET" for method, _ in self.faulty.requests)


@contextlib.asynccontextmanager
async def on(project: openai.Project) -> AsyncIterator[Bench]:
    project.keys.add("key_live")
    faulty = Faulty(openai.create("plainly-secret", project))
    async with serving(faulty) as url:
        bench = Bench(url, faulty, project)
        yield bench
        await bench.provider.close()


class TestReferences:
    @pytest.mark.parametrize(
        "ref",
        ["key_live", "proj_shop", "proj_shop/", "/key_live", "a/b", "proj_x/key_y/z", "", "proj_x/sa/", "proj_x/sa/a/b",
         "proj_x/sa/..", "proj_x/key_y\n", "proj_x/key_y?a=b"],
    )  # fmt: skip
    async def test_another_form_is_refused_without_a_call_and_offers_nothing(self, ref: str) -> None:
        provider = OpenAIProvider("openai", SECRET, base_url="http://127.0.0.1:9/v1")
        assert provider.steps_of(ref) == {}
        with pytest.raises(Refused) as caught:
            await provider.apply("revoke", ref)
        await provider.close()
        assert caught.value.reason is Reason.BAD_REF

    async def test_only_revoking_stays_with_the_key(self) -> None:
        async with on(openai.Project()) as bench:
            scopes = {step: spec.scope for step, spec in bench.provider.steps_of(REF).items()}
            assert scopes == {"throttle": "project", "degrade": "project", "block": "project", "revoke": "key"}
            assert "all its keys" in bench.provider.steps_of(ACCOUNT)["revoke"].breaks

    def test_degrading_is_offered_with_models_to_fall_back_to(self) -> None:
        assert "degrade" not in steps_configured(ProviderConfig(kind="openai"))
        assert steps_configured(ProviderConfig(kind="openai", degrade_to=("cheap",))) == STEPS


class TestServiceAccounts:
    async def test_it_is_deleted_with_its_keys_and_that_is_final(self) -> None:
        async with on(openai.Project(accounts={"svc_acct_1"})) as bench:
            before = await bench.provider.snapshot(ACCOUNT)
            assert (before["name"], before["owner"]) == ("nightly", "service_account")
            assert await bench.state("revoke", ACCOUNT) == "no"
            assert await bench.provider.apply("revoke", ACCOUNT) == "deleted"
            assert await bench.state("revoke", ACCOUNT) == "yes"
            assert "already gone" in await bench.provider.apply("revoke", ACCOUNT)
            with pytest.raises(Refused, match="service account cannot come back"):
                await bench.provider.undo("revoke", ACCOUNT, before)
            assert bench.project.keys == {"key_live"}

    async def test_one_that_never_was_is_not_taken_for_a_deleted_one(self) -> None:
        async with on(openai.Project()) as bench:
            with pytest.raises(Refused) as caught:
                await bench.provider.snapshot(ACCOUNT)
            assert caught.value.reason is Reason.UNKNOWN_KEY

    async def test_a_key_that_cannot_be_deleted_by_itself_says_what_to_do(self) -> None:
        async with on(openai.Project(service_account_keys=frozenset({"key_live"}))) as bench:
            with pytest.raises(Refused, match="proj_shop/sa/ID as its provider_ref") as caught:
                await bench.provider.apply("revoke", REF)
            assert caught.value.reason is Reason.SERVICE_ACCOUNT


class TestThrottle:
    async def test_every_model_on_every_page_is_slowed_and_put_back(self) -> None:
        limits = {f"rl-m{number}": {**FAST, "max_requests_per_1_day": 10_000} for number in range(25)}
        limits["rl-image"] = {**FAST, "max_images_per_1_minute": 50, "batch_1_day_max_input_tokens": 9_000_000}
        async with on(openai.Project(limits=limits, page_size=10)) as bench:
            was = {name: dict(figures) for name, figures in limits.items()}
            before = await bench.provider.snapshot(REF)
            assert await bench.provider.apply("throttle", REF) == "the limits of 26 models lowered"
            assert await bench.state("throttle") == "yes"
            slow = {"max_requests_per_1_minute": 1, "max_tokens_per_1_minute": 10_000}
            assert bench.project.limits["rl-m24"] == slow | {"max_requests_per_1_day": 10_000}
            assert bench.project.limits["rl-image"]["batch_1_day_max_input_tokens"] == 10_000
            await bench.provider.undo("throttle", REF, before)
            assert bench.project.limits == was
            assert await bench.provider.snapshot(REF) == before

    async def test_nothing_is_ever_raised(self) -> None:
        low = {"max_requests_per_1_minute": 500, "max_tokens_per_1_minute": 200}
        async with on(openai.Project(limits={"rl-small": low})) as bench:
            await bench.provider.apply("throttle", REF)
            assert bench.project.limits["rl-small"] == {"max_requests_per_1_minute": 1, "max_tokens_per_1_minute": 200}

    async def test_a_refusal_is_met_with_one_request_and_not_one_for_each_model(self) -> None:
        async with on(openai.Project(limits={f"rl-{number}": dict(FAST) for number in range(9)})) as bench:
            bench.faulty.faults.append(Misbehave(403, changes_only=True))
            with pytest.raises(Refused):
                await bench.provider.apply("throttle", REF)
            assert bench.changes() == 1

    async def test_models_that_fail_leave_the_step_open_and_the_next_try_does_only_the_rest(self) -> None:
        async with on(openai.Project(limits={f"rl-{number}": dict(FAST) for number in range(9)})) as bench:
            before = await bench.provider.snapshot(REF)
            bench.faulty.faults.extend(
                [Misbehave(500, after=True, changes_only=True), *[Misbehave(changes_only=True)] * 2]
            )
            with pytest.raises(Retryable):  # the first by itself; it happened behind its error
                await bench.provider.apply("throttle", REF)
            bench.faulty.faults.popleft()
            bench.faulty.faults[0] = Misbehave(200, b"{}", changes_only=True)
            assert (
                await bench.provider.in_effect("throttle", REF)
            ).words == "8 of 9 models of proj_shop are not slowed"
            bench.faulty.faults.append(Misbehave(changes_only=True))
            with pytest.raises(Retryable):  # one is said to be done and is not, one fails, the others are done
                await bench.provider.apply("throttle", REF)
            assert (
                await bench.provider.in_effect("throttle", REF)
            ).words == "2 of 9 models of proj_shop are not slowed"
            assert await bench.provider.apply("throttle", REF) == "the limits of 2 models lowered"
            await bench.provider.undo("throttle", REF, before)
            assert all(figures == FAST for figures in bench.project.limits.values())

    async def test_a_limit_that_a_person_changed_meanwhile_is_left_to_them(self) -> None:
        async with on(openai.Project(limits={"rl-a": dict(FAST), "rl-b": dict(FAST)})) as bench:
            before = await bench.provider.snapshot(REF)
            await bench.provider.apply("throttle", REF)
            bench.project.limits["rl-a"]["max_requests_per_1_minute"] = 77
            await bench.provider.undo("throttle", REF, before)
            assert bench.project.limits == {"rl-a": {**FAST, "max_requests_per_1_minute": 77}, "rl-b": FAST}


class TestDegrade:
    @pytest.mark.parametrize(
        ("before", "after"),
        [
            (None, ["cheap", "small"]),
            ({"mode": "deny_list", "model_ids": ["small", "huge"]}, ["cheap"]),
            ({"mode": "allow_list", "model_ids": ["small", "huge"]}, ["small"]),
        ],
    )
    async def test_it_never_allows_what_was_not_allowed(
        self, before: dict[str, object] | None, after: list[str]
    ) -> None:
        async with on(openai.Project(permissions=before)) as bench:
            saved = await bench.provider.snapshot(REF)
            assert await bench.state("degrade") == "no"
            await bench.provider.apply("degrade", REF)
            assert bench.project.permissions == {"mode": "allow_list", "model_ids": after}
            assert await bench.state("degrade") == "yes"
            await bench.provider.undo("degrade", REF, saved)
            assert bench.project.permissions == before

    async def test_with_no_model_left_it_changes_nothing(self) -> None:
        only = {"mode": "allow_list", "model_ids": ["huge"]}
        async with on(openai.Project(permissions=only)) as bench:
            with pytest.raises(Refused, match="nothing was changed"):
                await bench.provider.apply("degrade", REF)
            assert bench.project.permissions == only


class TestBlock:
    async def test_a_limit_that_is_set_but_not_enforced_is_neither_here_nor_there(self) -> None:
        """So a restore takes it away, and a cut goes on waiting."""
        async with on(openai.Project(enforced=False)) as bench:
            before = await bench.provider.snapshot(REF)
            await bench.provider.apply("block", REF)
            assert await bench.state("block") == "unknown"
            bench.project.enforced = True
            assert await bench.state("block") == "yes"
            await bench.provider.undo("block", REF, before)
            assert await bench.state("block") == "no"
            assert bench.project.spend_limit_cents is None

    async def test_a_limit_of_the_projects_own_comes_back(self) -> None:
        async with on(openai.Project(spend_limit_cents=500_000)) as bench:
            before = await bench.provider.snapshot(REF)
            assert await bench.state("block") == "no"
            await bench.provider.apply("block", REF)
            assert (bench.project.spend_limit_cents, await bench.state("block")) == (1, "yes")
            assert await bench.provider.undo("block", REF, before) == "the spend limit put back to 5,000.00 USD"
            assert bench.project.spend_limit_cents == 500_000


class TestWhatTheAdminKeyMayNot:
    async def test_a_key_can_be_revoked_by_one_that_may_only_see_keys(self) -> None:
        forbidden = frozenset({"rate_limits", "model_permissions", "spend_limit"})
        async with on(openai.Project(forbidden=forbidden)) as bench:
            assert set(await bench.provider.snapshot(REF)) == {"status", "name", "owner"}
            await bench.provider.apply("revoke", REF)
            assert await bench.state("revoke") == "yes"

    @pytest.mark.parametrize("step", ["throttle", "degrade", "block"])
    async def test_what_it_cannot_read_it_does_not_change(self, step: Step) -> None:
        forbidden = frozenset({"rate_limits", "model_permissions", "spend_limit"})
        async with on(openai.Project(forbidden=forbidden)) as bench:
            with pytest.raises(Refused) as caught:
                await bench.provider.apply(step, REF)
            assert caught.value.reason is Reason.FORBIDDEN
            assert bench.changes() == 0

    @pytest.mark.parametrize("step", ["throttle", "degrade", "block"])
    async def test_without_a_saved_state_nothing_is_undone_by_guessing(self, step: Step) -> None:
        async with on(openai.Project()) as bench:
            await bench.provider.apply(step, REF)
            with pytest.raises(Refused, match="nobody saved"):
                await bench.provider.undo(step, REF, {})
            assert await bench.state(step) == "yes"

    async def test_a_project_without_limits_is_no_answer_and_no_missing_permission(self) -> None:
        async with on(openai.Project(limits={})) as bench:
            with pytest.raises(Retryable) as caught:
                await bench.provider.snapshot(REF)
            assert caught.value.reason is Reason.NONSENSE


class TestTheStandIn:
    """Our server against the models that OpenAI generates from its own description of the API."""

    @pytest.mark.parametrize(
        ("path", "model"),
        [
            ("", Project),
            ("/api_keys/key_live", ProjectAPIKey),
            ("/service_accounts/svc_acct_1", ProjectServiceAccount),
            ("/model_permissions", ProjectModelPermissions),
            ("/spend_limit", ProjectSpendLimit),
        ],
    )
    async def test_it_answers_in_the_published_shape(self, path: str, model: type[BaseModel]) -> None:
        shop = openai.Project(
            accounts={"svc_acct_1"}, spend_limit_cents=1, permissions={"mode": "allow_list", "model_ids": ["cheap"]}
        )
        async with on(shop) as bench:
            model.model_validate(await bench.get(path), strict=True)

    async def test_it_lists_limits_in_the_published_shape(self) -> None:
        async with on(openai.Project()) as bench:
            answer = await bench.get("/rate_limits")
            assert {"object", "data", "first_id", "last_id", "has_more"} == set(answer)
            ProjectRateLimit.model_validate(answer["data"][0], strict=True)

    def test_it_takes_the_published_figures_and_we_send_no_others(self) -> None:
        assert set(RateLimitUpdateRateLimitParams.__annotations__) - {"project_id"} == openai.FIGURES
        assert set(SLOWED) < openai.FIGURES
