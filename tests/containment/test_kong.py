"""What only Kong does."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import SecretStr

from containment.providers.errors import Reason, Refused
from containment.providers.kong import KongProvider
from schemas.records import Step
from tests.containment.servers import kong
from tests.containment.servers.serve import Faulty, serving

SECRET = SecretStr("plainly-secret")
KEY = "4661f656-0000-4000-8000-16b9bbbb2d30"
OTHER = "4661f656-0000-4000-8000-16b9bbbb2d31"
REF = f"shop/{KEY}"


class Bench:
    def __init__(self, url: str, faulty: Faulty, shop: kong.Consumer) -> None:
        self.provider = KongProvider("kong", SECRET, base_url=url)
        self.faulty = faulty
        self.shop = shop

    async def state(self, step: Step) -> str:
        return (await self.provider.in_effect(step, REF)).state


@contextlib.asynccontextmanager
async def on(shop: kong.Consumer | None = None, **settings: Any) -> AsyncIterator[Bench]:
    shop = shop or kong.Consumer()
    shop.keys.setdefault(KEY, "its-very-value")
    faulty = Faulty(kong.create("plainly-secret", {"shop": shop}, **settings))
    async with serving(faulty) as url:
        bench = Bench(url, faulty, shop)
        yield bench
        await bench.provider.close()


class TestReferences:
    @pytest.mark.parametrize(
        "ref",
        ["", "shop", "shop/", f"/{KEY}", "shop/its-very-value", f"../{KEY}", f"a/b/{KEY}", f"{REF}/all", f"{REF}/"],
    )
    async def test_another_form_is_refused_without_a_call_and_without_repeating_it(self, ref: str) -> None:
        provider = KongProvider("kong", SECRET, base_url="http://127.0.0.1:9")
        assert provider.steps_of(ref) == {}
        with pytest.raises(Refused, match="never its value") as caught:
            await provider.snapshot(ref)
        await provider.close()
        assert caught.value.reason is Reason.BAD_REF
        assert "very-value" not in str(caught.value)

    async def test_a_consumer_with_a_space_in_its_name_is_found(self) -> None:
        async with on() as bench:
            bench.faulty.requests.clear()
            with pytest.raises(Refused) as caught:
                await bench.provider.snapshot(f"a b/{KEY}")
            assert caught.value.reason is Reason.UNKNOWN_KEY
            assert bench.faulty.requests == [("GET", f"/consumers/a b/key-auth/{KEY}")]

    def test_only_a_sole_credential_is_stopped_by_itself(self) -> None:
        provider = KongProvider("kong", SECRET, base_url="http://127.0.0.1:9")
        shared, sole = provider.steps_of(REF), provider.steps_of(REF + "/sole")
        assert {step: spec.scope for step, spec in shared.items()} == {
            "throttle": "project", "block": "project", "revoke": "key"
        }  # fmt: skip
        assert {spec.scope for spec in sole.values()} == {"key"}
        assert "Every credential of the consumer" in shared["block"].breaks
        assert "only credential" in sole["block"].breaks


class TestSole:
    async def test_a_consumer_with_this_credential_alone_is_blocked(self) -> None:
        async with on() as bench:
            await bench.provider.apply("block", REF + "/sole")
            assert await bench.state("block") == "yes"

    @pytest.mark.parametrize("step", ["block", "throttle"])
    async def test_one_with_a_second_credential_is_left_alone(self, step: Step) -> None:
        async with on(kong.Consumer({OTHER: "healthy"})) as bench:
            with pytest.raises(Refused, match="the consumer has 2 credentials"):
                await bench.provider.apply(step, REF + "/sole")
            assert bench.shop.plugins == {}


class TestPluginsOfSomebodyElse:
    async def test_a_limit_of_their_own_is_lowered_and_put_back(self) -> None:
        shop = kong.Consumer()
        shop.add(
            "rate-limiting",
            {"second": 5, "minute": 100, "hour": 1000, "policy": "redis", "redis": {"password": "hush"}},
        )
        was = [dict(each) for each in shop.plugins.values()]
        async with on(shop) as bench:
            before = await bench.provider.snapshot(REF)
            assert "hush" not in str(before)
            assert await bench.state("throttle") == "no"
            await bench.provider.apply("throttle", REF)
            assert await bench.state("throttle") == "yes"
            (now,) = shop.plugins.values()
            assert (now["config"]["minute"], now["config"]["second"], now["config"]["hour"]) == (1, None, 1000)
            await bench.provider.undo("throttle", REF, before)
            assert list(shop.plugins.values()) == was

    @pytest.mark.parametrize(("config", "enabled"), [({}, False), ({"trigger": "x-debug"}, True)])
    async def test_a_termination_at_rest_is_no_block_until_it_is_made_one(
        self, config: dict[str, Any], enabled: bool
    ) -> None:
        shop = kong.Consumer()
        shop.add("request-termination", config, enabled=enabled)
        was = [dict(each) for each in shop.plugins.values()]
        async with on(shop) as bench:
            before = await bench.provider.snapshot(REF)
            assert await bench.state("block") == "no"
            await bench.provider.apply("block", REF)
            assert await bench.state("block") == "yes"
            await bench.provider.undo("block", REF, before)
            assert list(shop.plugins.values()) == was

    async def test_a_limit_for_one_route_that_goes_before_ours_is_not_passed_over(self) -> None:
        shop = kong.Consumer()
        shop.add("rate-limiting", {"minute": 100}, route={"id": "r"})
        async with on(shop) as bench:
            await bench.provider.apply("throttle", REF)
            assert await bench.state("throttle") == "unknown"

    async def test_a_limit_for_one_route_that_is_as_low_does_not_matter(self) -> None:
        shop = kong.Consumer()
        shop.add("rate-limiting", {"minute": 1}, route={"id": "r"})
        async with on(shop) as bench:
            await bench.provider.apply("throttle", REF)
            assert await bench.state("throttle") == "yes"

    async def test_what_somebody_else_put_in_place_of_ours_is_not_deleted(self) -> None:
        async with on() as bench:
            before = await bench.provider.snapshot(REF)
            await bench.provider.apply("block", REF)
            bench.shop.plugins.clear()
            bench.shop.add("request-termination", {})
            with pytest.raises(Refused, match="somebody else"):
                await bench.provider.undo("block", REF, before)
            assert await bench.state("block") == "yes"

    async def test_plugins_are_read_to_the_last_page(self) -> None:
        shop = kong.Consumer()
        for number in range(5):
            shop.add("rate-limiting", {"minute": 1}, route={"id": str(number)})
        shop.add("request-termination", {})
        async with on(shop, page_size=2) as bench:
            assert await bench.state("block") == "yes"


async def test_the_value_of_a_credential_is_never_kept() -> None:
    async with on() as bench:
        said = [str(await bench.provider.snapshot(REF)), str(await bench.provider.in_effect("revoke", REF))]
        said.append(await bench.provider.apply("revoke", REF))
        assert "very-value" not in " ".join(said) + repr(vars(bench.provider))
        assert bench.shop.keys == {}


async def test_without_a_database_behind_it_kong_says_so() -> None:
    async with on(read_only=True) as bench:
        with pytest.raises(Refused, match="when not using a database"):
            await bench.provider.apply("block", REF)


async def test_without_a_saved_state_nothing_is_undone_by_guessing() -> None:
    async with on() as bench:
        await bench.provider.apply("block", REF)
        with pytest.raises(Refused, match="nobody saved"):
            await bench.provider.undo("block", REF, {})
        assert await bench.state("block") == "yes"
