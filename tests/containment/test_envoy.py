"""What only the Envoy gateways do: a key moves between two Secrets."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import AsyncIterator

import pytest
from pydantic import SecretStr

from containment.providers.envoy import EnvoyProvider
from containment.providers.errors import Reason, Refused, Retryable
from tests.containment.servers import kubernetes
from tests.containment.servers.serve import Faulty, Misbehave, body, serving

TOKEN = SecretStr("plainly-secret")
REF = "gateway/llm-keys/checkout"
ASIDE = "llm-keys.keyfuse-disabled"
VALUE = "its-very-value"
KEYS = {"checkout": VALUE, "search": "healthy"}


class Bench:
    def __init__(self, url: str, faulty: Faulty, cluster: kubernetes.Cluster) -> None:
        self.provider = EnvoyProvider("envoy", TOKEN, base_url=url)
        self.faulty = faulty
        self.cluster = cluster

    async def state(self) -> str:
        return (await self.provider.in_effect("disable", REF)).state


@contextlib.asynccontextmanager
async def on(data: dict[str, dict[str, str]] | None = None) -> AsyncIterator[Bench]:
    cluster = kubernetes.Cluster({"llm-keys": KEYS} if data is None else data)
    faulty = Faulty(kubernetes.create("plainly-secret", cluster))
    async with serving(faulty) as url:
        bench = Bench(url, faulty, cluster)
        yield bench
        await bench.provider.close()


@pytest.mark.parametrize(
    "ref",
    ["", "gateway", "gateway/llm-keys", "gateway/llm-keys/", "Gateway/k/c", "../k/c", "a/../c", "a/k/c/d", "a/k/c d"],
)
async def test_a_reference_of_another_form_is_refused_without_a_call(ref: str) -> None:
    provider = EnvoyProvider("envoy", TOKEN, base_url="http://127.0.0.1:9")
    assert provider.steps_of(ref) == {}
    with pytest.raises(Refused) as caught:
        await provider.snapshot(ref)
    await provider.close()
    assert caught.value.reason is Reason.BAD_REF


class TestMoving:
    async def test_the_key_moves_aside_and_back_and_no_other_client_notices(self) -> None:
        async with on() as bench:
            before = await bench.provider.snapshot(REF)
            await bench.provider.apply("disable", REF)
            assert bench.cluster.plain("llm-keys") == {"search": "healthy"}
            assert bench.cluster.plain(ASIDE) == {"checkout": VALUE}
            assert "annotations" not in bench.cluster.secrets[ASIDE]["metadata"]
            await bench.provider.undo("disable", REF, before)
            assert bench.cluster.plain("llm-keys") == KEYS
            assert bench.cluster.plain(ASIDE) == {}

    async def test_the_last_client_can_go_as_well(self) -> None:
        async with on({"llm-keys": {"checkout": VALUE}}) as bench:
            await bench.provider.apply("disable", REF)
            assert await bench.state() == "yes"
            await bench.provider.undo("disable", REF, {"state": "active"})
            assert bench.cluster.plain("llm-keys") == {"checkout": VALUE}

    async def test_a_second_client_goes_where_the_first_went(self) -> None:
        async with on() as bench:
            await bench.provider.apply("disable", REF)
            await bench.provider.apply("disable", "gateway/llm-keys/search")
            assert bench.cluster.plain(ASIDE) == KEYS

    async def test_a_client_that_only_the_other_secret_knows_is_disabled_and_not_unknown(self) -> None:
        async with on({"llm-keys": {}, ASIDE: {"checkout": VALUE}}) as bench:
            assert await bench.provider.snapshot(REF) == {"state": "disabled"}
            assert await bench.provider.apply("disable", REF) == "already disabled"
            assert await bench.provider.undo("disable", REF, {"state": "disabled"}) == "left disabled, as it was before"

    async def test_a_new_key_that_the_client_got_meanwhile_stays(self) -> None:
        async with on() as bench:
            await bench.provider.apply("disable", REF)
            bench.cluster.put("llm-keys", {"checkout": base64.b64encode(b"new").decode()})
            await bench.provider.undo("disable", REF, {"state": "active"})
            assert bench.cluster.plain("llm-keys") == {"checkout": "new"}
            assert bench.cluster.plain(ASIDE) == {}

    async def test_an_older_key_left_aside_is_replaced(self) -> None:
        async with on({"llm-keys": KEYS, ASIDE: {"checkout": "older"}}) as bench:
            await bench.provider.apply("disable", REF)
            assert bench.cluster.plain(ASIDE) == {"checkout": VALUE}


class TestHalfway:
    """Two Secrets, two writes: between them the key is in both, never in neither."""

    async def test_when_the_copy_fails_the_key_still_works(self) -> None:
        async with on() as bench:
            bench.faulty.faults.append(Misbehave(503, changes_only=True))
            with pytest.raises(Retryable):
                await bench.provider.apply("disable", REF)
            assert bench.cluster.plain("llm-keys") == KEYS
            assert await bench.state() == "no"

    async def test_when_taking_out_fails_the_next_try_does_only_that(self) -> None:
        async with on({"llm-keys": KEYS, ASIDE: {"checkout": VALUE}}) as bench:
            bench.faulty.faults.append(Misbehave(503, changes_only=True))
            with pytest.raises(Retryable):
                await bench.provider.apply("disable", REF)
            bench.faulty.requests.clear()
            await bench.provider.apply("disable", REF)
            assert [path for method, path in bench.faulty.requests if method != "GET"] == [
                "/api/v1/namespaces/gateway/secrets/llm-keys"
            ]

    async def test_a_copy_that_is_said_to_be_made_and_is_not_costs_nobody_the_key(self) -> None:
        async with on() as bench:
            bench.faulty.faults.append(Misbehave(200, b"{}", changes_only=True))
            with pytest.raises(Retryable, match="answered as done"):
                await bench.provider.apply("disable", REF)
            assert bench.cluster.plain("llm-keys") == KEYS

    async def test_a_way_back_that_is_said_to_be_made_and_is_not_costs_nobody_the_key(self) -> None:
        async with on() as bench:
            before = await bench.provider.snapshot(REF)
            await bench.provider.apply("disable", REF)
            bench.faulty.faults.append(Misbehave(200, b"{}", changes_only=True))
            with pytest.raises(Retryable, match="answered as done"):
                await bench.provider.undo("disable", REF, before)
            assert bench.cluster.plain(ASIDE) == {"checkout": VALUE}
            await bench.provider.undo("disable", REF, before)
            assert bench.cluster.plain("llm-keys") == KEYS

    async def test_when_only_clearing_up_fails_the_client_is_served_all_the_same(self) -> None:
        async with on() as bench:
            before = await bench.provider.snapshot(REF)
            await bench.provider.apply("disable", REF)
            bench.faulty.is_change = lambda method, path: method == "PATCH" and path.endswith(ASIDE)
            bench.faulty.faults.append(Misbehave(503, changes_only=True))
            with pytest.raises(Retryable):
                await bench.provider.undo("disable", REF, before)
            assert await bench.state() == "no"
            assert bench.cluster.plain("llm-keys") == KEYS


class TestSecrecy:
    async def test_a_key_that_the_cluster_quotes_is_not_repeated(self) -> None:
        encoded = base64.b64encode(VALUE.encode()).decode()
        async with on() as bench:
            bench.faulty.faults.append(
                Misbehave(422, body({"message": f"Invalid value: {encoded}"}), changes_only=True)
            )
            with pytest.raises(Refused, match="Invalid value") as caught:
                await bench.provider.apply("disable", REF)
            assert encoded not in f"{caught.value} {caught.value!r} {caught.value.__context__!r}"

    async def test_nothing_saved_or_said_holds_the_key(self) -> None:
        async with on() as bench:
            said = [str(await bench.provider.snapshot(REF)), await bench.provider.apply("disable", REF)]
            said += [str(await bench.provider.in_effect("disable", REF)), repr(vars(bench.provider))]
            encoded = base64.b64encode(VALUE.encode()).decode()
            assert VALUE not in " ".join(said)
            assert encoded not in " ".join(said)


class TestRights:
    async def test_without_the_right_to_write_nothing_happens_and_the_words_name_it(self) -> None:
        async with on() as bench:
            bench.cluster.forbidden = frozenset({"PATCH", "POST"})
            with pytest.raises(Refused, match="cannot POST secrets") as caught:
                await bench.provider.apply("disable", REF)
            assert caught.value.reason is Reason.FORBIDDEN
            assert bench.cluster.plain("llm-keys") == KEYS

    async def test_a_second_secret_made_beforehand_saves_the_right_to_create(self) -> None:
        async with on({"llm-keys": KEYS, ASIDE: {}}) as bench:
            bench.cluster.forbidden = frozenset({"POST"})
            await bench.provider.apply("disable", REF)
            assert await bench.state() == "yes"

    async def test_somebody_who_writes_at_the_same_time_is_not_overwritten(self) -> None:
        async with on() as bench:
            rotated = {"checkout": base64.b64encode(b"rotated").decode()}
            bench.cluster.before_change = lambda: bench.cluster.put("llm-keys", rotated)
            with pytest.raises(Retryable, match="has been modified"):
                await bench.provider.apply("disable", REF)
            assert bench.cluster.plain("llm-keys") == {"checkout": "rotated"}
