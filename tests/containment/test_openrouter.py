"""OpenRouter: how much a throttled key may still spend."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import pytest
from pydantic import SecretStr

from containment.providers.build import build_provider
from containment.providers.errors import Reason, Refused, Retryable
from containment.providers.openrouter import STEPS, OpenRouterProvider
from schemas.config.wiring import ProviderConfig
from tests.containment.servers import openrouter
from tests.containment.servers.openrouter import LIVE, Key
from tests.containment.servers.serve import Faulty, Misbehave, body, serving

SECRET = SecretStr("plainly-secret")


@contextlib.asynccontextmanager
async def shop(key: Key, *, throttle_usd: float = 1.0) -> AsyncIterator[tuple[OpenRouterProvider, Faulty]]:
    faulty = Faulty(openrouter.create("plainly-secret", {LIVE: key}))
    async with serving(faulty) as url:
        provider = OpenRouterProvider("openrouter", SECRET, base_url=f"{url}/api/v1", throttle_usd=throttle_usd)
        yield provider, faulty
        await provider.close()


class TestThrottle:
    @pytest.mark.parametrize(
        "key",
        [
            Key(),
            Key(limit=100),
            Key(limit=100, limit_reset="daily"),
            Key(limit=5, limit_reset="daily", usage=900.0, since_reset=4.9),  # a fresh five dollars at midnight
            Key(limit=100, include_byok=True),
            Key(usage=0.1 + 0.2),
        ],
        ids=["no limit", "limit", "daily", "daily, nearly used up", "own keys count", "float"],
    )
    async def test_it_leaves_the_key_what_the_setting_says_and_gives_back_what_was(self, key: Key) -> None:
        before = (key.limit, key.limit_reset)
        async with shop(key, throttle_usd=2.5) as (provider, _):
            saved = await provider.snapshot(LIVE)
            assert (await provider.in_effect("throttle", LIVE)).state == "no"
            await provider.apply("throttle", LIVE)
            assert key.remaining() == pytest.approx(2.5, abs=0.001)
            assert (await provider.in_effect("throttle", LIVE)).state == "yes"
            await provider.undo("throttle", LIVE, saved)
        assert (key.limit, key.limit_reset) == before

    async def test_a_second_time_gives_it_nothing_more(self) -> None:
        key = Key()
        async with shop(key) as (provider, faulty):
            await provider.apply("throttle", LIVE)
            key.usage += 0.75
            assert (await provider.apply("throttle", LIVE)).startswith("already held: $0.25 left")
        assert key.remaining() == pytest.approx(0.25)
        assert [method for method, _ in faulty.requests] == ["GET", "PATCH", "GET"]

    @pytest.mark.parametrize("key", [Key(limit=26.0), Key(limit=20.0)], ids=["nearly used up", "used up"])
    async def test_a_tighter_limit_of_the_owners_stays(self, key: Key) -> None:
        limit = key.limit
        async with shop(key) as (provider, _):
            assert (await provider.in_effect("throttle", LIVE)).state == "yes"
            await provider.apply("throttle", LIVE)
        assert key.limit == limit

    async def test_the_setting_is_read(self) -> None:
        key = Key()
        async with serving(Faulty(openrouter.create("plainly-secret", {LIVE: key}))) as url:
            config = ProviderConfig(kind="openrouter", base_url=f"{url}/api/v1", throttle_usd=7)
            provider = build_provider("openrouter", config, SECRET)
            await provider.apply("throttle", LIVE)
            await provider.close()
        assert key.remaining() == pytest.approx(7)


@pytest.mark.parametrize(
    "ref", ["sk-or-v1-0123456789abcdef0123456789abcdef", "", "short", "../credits/0123456789abcdef"]
)
async def test_what_is_no_hash_is_refused_without_a_call_and_not_repeated(ref: str) -> None:
    async with shop(Key()) as (provider, faulty):
        assert provider.steps_of(ref) == {}
        for step in STEPS:
            with pytest.raises(Refused) as caught:
                await provider.apply(step, ref)
            assert caught.value.reason is Reason.BAD_REF
            assert not ref or ref not in str(caught.value)
        assert faulty.requests == []


@pytest.mark.parametrize(
    "field", [{"limit": "100"}, {"usage": None}, {"disabled": 1}, {"hash": "0" * 64}, {"limit_remaining": True}]
)
async def test_a_field_of_another_type_is_no_answer(field: dict[str, object]) -> None:
    whole = {
        "hash": LIVE, "disabled": False, "limit": None, "limit_remaining": None, "limit_reset": None, "usage": 1,
    }  # fmt: skip
    async with shop(Key()) as (provider, faulty):
        faulty.faults.append(Misbehave(200, body({"data": whole})))
        assert (await provider.snapshot(LIVE))["disabled"] == "no"
        faulty.faults.append(Misbehave(200, body({"data": whole | field})))
        with pytest.raises(Retryable) as caught:
            await provider.snapshot(LIVE)
    assert caught.value.reason is Reason.NONSENSE


async def test_a_delete_that_does_not_say_so_is_not_believed() -> None:
    async with shop(Key()) as (provider, faulty):
        faulty.faults.append(Misbehave(200, body({"deleted": False})))
        with pytest.raises(Retryable):
            await provider.apply("revoke", LIVE)
        assert (await provider.in_effect("revoke", LIVE)).state == "no"
        assert await provider.apply("revoke", LIVE) == "deleted"
        assert (await provider.apply("revoke", LIVE)).startswith("already gone")


async def test_when_the_key_was_last_used_is_told_to_people() -> None:
    async with shop(Key()) as (provider, _):
        await provider.apply("disable", LIVE)
        seen = await provider.in_effect("disable", LIVE)
    assert seen.words == "the key is disabled, last used 2026-11-29T23:58:27Z"
