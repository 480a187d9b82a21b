"""LiteLLM: several replicas with caches of their own, limits, and versions that answer otherwise."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import httpx
import pytest
from pydantic import SecretStr

from containment.providers.errors import Reason, Refused, Retryable
from containment.providers.litellm import STEPS, LiteLLMProvider, addresses
from schemas.config.responses import RetryConfig
from schemas.records import Step, StepState
from tests.containment.build import command
from tests.containment.servers import litellm
from tests.containment.servers.serve import Faulty, Misbehave, body, serving
from tests.containment.test_execute import Stage

SECRET = SecretStr("plainly-secret")
KEY = litellm.KEY


@dataclass
class Town:
    """Replicas that share a database, a thief who calls all of them, and Keyfuse."""

    gateway: litellm.Gateway
    replicas: list[Faulty] = field(default_factory=list)
    urls: list[str] = field(default_factory=list)

    def provider(self, *, knows: int = 0) -> LiteLLMProvider:
        """Keyfuse, as if just started; with `knows` it is told of so many replicas only."""
        return LiteLLMProvider("litellm", SECRET, base_url=", ".join(self.urls[: knows or None]))

    async def thief(self) -> list[int]:
        """What each replica answers a call with the key."""
        async with httpx.AsyncClient(headers={"Authorization": f"Bearer sk-{KEY}"}) as caller:
            return [(await caller.post(f"{url}/v1/chat/completions")).status_code for url in self.urls]


@contextlib.asynccontextmanager
async def town(replicas: int, row: litellm.Row | None = None) -> AsyncIterator[Town]:
    built = Town(litellm.Gateway("plainly-secret", {KEY: row or litellm.Row()}))
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(replicas):
            built.replicas.append(Faulty(built.gateway.replica()))
            built.urls.append(await stack.enter_async_context(serving(built.replicas[-1])))
        yield built


class TestReplicas:
    async def test_a_replica_that_was_not_told_serves_a_blocked_key_for_as_long_as_it_is_called(self) -> None:
        """Why each one is told: the database says blocked, and the thief does not notice."""
        async with town(3) as three:
            assert await three.thief() == [200, 200, 200]
            provider = three.provider(knows=1)
            await provider.apply("block", KEY)
            assert (await provider.in_effect("block", KEY)).state == "yes"
            assert [await three.thief() for _ in range(3)] == [[401, 200, 200]] * 3
            await provider.close()

    @pytest.mark.parametrize("step", ["block", "revoke"])
    async def test_after_a_cut_each_replica_refuses_at_once(self, step: Step) -> None:
        async with town(3) as three:
            assert await three.thief() == [200, 200, 200]
            provider = three.provider()
            await provider.apply(step, KEY)
            assert (await provider.in_effect(step, KEY)).state == "yes"
            assert await three.thief() == [401, 401, 401]
            await provider.close()

    async def test_each_replica_serves_again_after_the_undo(self) -> None:
        async with town(2) as two:
            provider = two.provider()
            before = await provider.snapshot(KEY)
            await provider.apply("block", KEY)
            await provider.undo("block", KEY, before)
            assert (await provider.in_effect("block", KEY)).state == "no"
            assert await two.thief() == [200, 200]
            await provider.close()

    @pytest.mark.parametrize("fault", [Misbehave(503), Misbehave(503, after=True)], ids=["before", "after"])
    async def test_one_replica_that_does_not_answer_keeps_the_block_from_counting(self, fault: Misbehave) -> None:
        async with town(3) as three:
            await three.thief()
            provider = three.provider()
            three.replicas[1].faults.append(fault)
            with pytest.raises(Retryable, match=three.urls[1].removeprefix("http://")):
                await provider.apply("block", KEY)
            seen = await provider.in_effect("block", KEY)
            assert (seen.state, "not each has confirmed" in seen.words) == ("unknown", True)
            await provider.apply("block", KEY)
            assert (await provider.in_effect("block", KEY)).state == "yes"
            assert await three.thief() == [401, 401, 401]
            await provider.close()

    async def test_a_replica_that_cannot_be_read_is_not_passed_over(self) -> None:
        async with town(2) as two:
            provider = two.provider()
            await provider.apply("block", KEY)
            two.replicas[1].faults.append(Misbehave(500))
            with pytest.raises(Retryable):
                await provider.in_effect("block", KEY)
            await provider.close()

    async def test_a_key_that_somebody_blocked_at_one_replica_is_blocked_at_all_by_the_command(self) -> None:
        async with town(2) as two:
            await two.thief()
            other = two.provider(knows=1)
            await other.apply("block", KEY)
            assert await two.thief() == [401, 200]
            stage = Stage(two.provider(), retry=RetryConfig())
            outcome = await stage.run(command(KEY, "block"))
            assert (outcome.state, outcome.attempts) == (StepState.CONFIRMED, 1), outcome.detail
            assert await two.thief() == [401, 401]
            await stage.provider.close()
            await other.close()

    async def test_after_a_restart_a_second_run_tells_everybody_again(self) -> None:
        async with town(2) as two:
            first, second = two.provider(), two.provider()
            await first.apply("block", KEY)
            assert (await second.in_effect("block", KEY)).state == "unknown"
            await second.apply("block", KEY)
            assert (await second.in_effect("block", KEY)).state == "yes"
            await first.close()
            await second.close()

    @pytest.mark.parametrize("step", ["block", "throttle"])
    async def test_one_replica_whose_books_lag_behind_is_enough_for_no(self, step: Step) -> None:
        async with town(2) as two:
            provider = two.provider()
            await provider.apply(step, KEY)
            old = body({"key": KEY, "info": {"blocked": None, "rpm_limit": None, "tpm_limit": None}})
            two.replicas[1].faults.append(Misbehave(200, old))
            assert (await provider.in_effect(step, KEY)).state == "no"
            assert (await provider.in_effect(step, KEY)).state == "yes"
            await provider.close()

    async def test_what_was_undone_and_blocked_elsewhere_since_is_not_taken_for_told(self) -> None:
        async with town(2) as two:
            provider, other = two.provider(), two.provider(knows=1)
            before = await provider.snapshot(KEY)
            await provider.apply("block", KEY)
            await provider.undo("block", KEY, before)
            await other.apply("block", KEY)
            assert (await provider.in_effect("block", KEY)).state == "unknown"
            await provider.close()
            await other.close()

    async def test_what_cannot_be_helped_by_trying_again_is_said_first(self) -> None:
        async with town(2) as two:
            provider = two.provider()
            two.replicas[0].faults.append(Misbehave(503))
            two.replicas[1].faults.append(Misbehave(403))
            with pytest.raises(Refused) as caught:
                await provider.apply("block", KEY)
            assert caught.value.reason is Reason.FORBIDDEN
            await provider.close()

    async def test_revoking_deletes_once_and_only_after_all_were_told(self) -> None:
        async with town(2) as two:
            provider = two.provider()
            two.replicas[1].faults.append(Misbehave(503, changes_only=True))
            with pytest.raises(Retryable):
                await provider.apply("revoke", KEY)
            assert KEY in two.gateway.rows
            await provider.apply("revoke", KEY)
            deleted = [path for replica in two.replicas for _, path in replica.requests if path == "/key/delete"]
            assert (KEY in two.gateway.rows, len(deleted)) == (False, 1)
            assert await provider.apply("revoke", KEY) == "already gone: the gateway does not know this key"
            await provider.close()


class TestLimits:
    @pytest.mark.parametrize(
        ("before", "while_held"),
        [
            (litellm.Row(), (1, 1000)),
            (litellm.Row(rpm_limit=600, tpm_limit=90_000), (1, 1000)),
            (litellm.Row(rpm_limit=600, tpm_limit=20), (1, 20)),  # a tighter limit of the owner's stays
            (litellm.Row(rpm_limit=0, tpm_limit=None), (0, 1000)),
        ],
        ids=["none", "wide", "tokens tighter", "zero"],
    )
    async def test_the_limits_are_put_back_as_they_were(self, before: litellm.Row, while_held: tuple[int, int]) -> None:
        was = (before.rpm_limit, before.tpm_limit)
        async with town(1, before) as one:
            provider = one.provider()
            saved = await provider.snapshot(KEY)
            await provider.apply("throttle", KEY)
            row = one.gateway.rows[KEY]
            assert (row.rpm_limit, row.tpm_limit) == while_held
            await provider.undo("throttle", KEY, saved)
            row = one.gateway.rows[KEY]
            assert (row.rpm_limit, row.tpm_limit) == was
            await provider.close()

    @pytest.mark.parametrize("row", [litellm.Row(rpm_limit=1), litellm.Row(tpm_limit=1000), litellm.Row(rpm_limit=2)])
    async def test_one_limit_alone_does_not_hold_a_key(self, row: litellm.Row) -> None:
        async with town(1, row) as one:
            provider = one.provider()
            assert (await provider.in_effect("throttle", KEY)).state == "no"
            await provider.close()


async def test_old_versions_answer_401_for_an_unknown_key_and_are_understood() -> None:
    async with serving(Faulty(litellm.create("plainly-secret", {}, unknown_status=401))) as url:
        provider = LiteLLMProvider("litellm", SECRET, base_url=url)
        with pytest.raises(Refused) as caught:
            await provider.apply("block", "9" * 64)
        await provider.close()
    assert caught.value.reason is Reason.UNKNOWN_KEY


@pytest.mark.parametrize("ref", ["sk-abcdef", "abcdef", "abcdef" + "0" * 59, "abcdef" + "g" * 58])
async def test_what_is_no_hash_is_refused_as_litellm_would_and_not_repeated(ref: str) -> None:
    provider = LiteLLMProvider("litellm", SECRET, base_url="http://127.0.0.1:9")
    for step in STEPS:
        with pytest.raises(Refused, match="never its value") as caught:
            await provider.apply(step, ref)
        assert "abcdef" not in str(caught.value)
    assert provider.steps_of(ref) == {}
    await provider.close()


async def test_an_admin_key_does_not_follow_a_redirect() -> None:
    faulty = Faulty(litellm.create("plainly-secret", {KEY: False}))
    faulty.faults.append(Misbehave(302, b"", {"location": "http://127.0.0.1:9/"}))
    async with serving(faulty) as url:
        provider = LiteLLMProvider("litellm", SECRET, base_url=url)
        with pytest.raises(Refused):
            await provider.snapshot(KEY)
        await provider.close()
    assert len(faulty.requests) == 1


@pytest.mark.parametrize(
    ("base_url", "expected"),
    [
        ("http://a", ("http://a",)),
        ("http://a/", ("http://a",)),
        ("http://a, http://b/,", ("http://a", "http://b")),
        ("http://a,http://a/", ("http://a",)),  # named twice, told once
    ],
)
def test_replicas_are_named_by_commas(base_url: str, expected: tuple[str, ...]) -> None:
    assert addresses(base_url) == expected
