"""What only the signed webhook does."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import SecretStr

from containment.providers.base import StepSpec
from containment.providers.errors import Reason, Refused, Retryable
from containment.providers.webhook import WebhookProvider
from schemas.records import Step
from tests.containment.own_benches import DECLARED, signing
from tests.containment.servers import automation
from tests.containment.servers.serve import Misbehave, body, serving

OLD, NEW = signing("an older secret of 24 b."), signing("a newer secret of 24 b.!")


class Bench:
    def __init__(self, url: str, server: automation.ByAction, works: automation.Automation, secret: str) -> None:
        self.provider = WebhookProvider("portal", SecretStr(secret), DECLARED, base_url=url + "/hook")
        self.server = server
        self.works = works


@contextlib.asynccontextmanager
async def on(*, knows: str = NEW, signs: str = NEW, **settings: Any) -> AsyncIterator[Bench]:
    works = automation.Automation({"k-1": set()}, **settings)
    server = automation.ByAction(automation.create(knows, works))
    async with serving(server) as url:
        bench = Bench(url, server, works, signs)
        yield bench
        await bench.provider.close()


class TestSigning:
    @pytest.mark.parametrize("knows", [OLD, NEW])
    async def test_while_the_secret_is_changed_a_receiver_that_knows_either_believes_us(self, knows: str) -> None:
        async with on(knows=knows, signs=f"{OLD} {NEW}") as bench:
            assert await bench.provider.snapshot("k-1") == {"held": ""}

    async def test_a_receiver_that_knows_another_secret_refuses_us_for_good(self) -> None:
        async with on(knows=OLD, signs=NEW) as bench:
            with pytest.raises(Refused) as caught:
                await bench.provider.apply("disable", "k-1")
            assert caught.value.reason is Reason.BAD_CREDENTIALS
            assert bench.works.keys == {"k-1": set()}

    async def test_no_two_messages_have_the_same_id_so_none_is_taken_for_a_replay(self) -> None:
        async with on() as bench:
            for _ in range(3):
                await bench.provider.apply("disable", "k-1")
            assert len(set(bench.works.ids)) == len(bench.works.ids) == 3

    async def test_a_part_of_a_double_secret_that_is_quoted_back_reaches_nobody(self) -> None:
        async with on(signs=f"{OLD} {NEW}") as bench:
            bench.server.faults.append(Misbehave(500, body({"seen": OLD})))
            with pytest.raises(Retryable) as caught:
                await bench.provider.snapshot("k-1")
            assert OLD not in str(caught.value)

    async def test_the_secret_itself_is_never_sent(self) -> None:
        async with on() as bench:
            sent = bench.provider._hook._api._client.headers
            assert "authorization" not in sent
            assert NEW not in str(sent)


class TestAnswers:
    async def test_something_that_takes_its_time_is_waited_for_and_can_be_undone(self) -> None:
        async with on(lags=True) as bench:
            await bench.provider.apply("disable", "k-1")
            seen = await bench.provider.in_effect("disable", "k-1")
            assert seen == ("unknown", "your automation says pending: the ticket is open")
            bench.works.lags = False
            assert (await bench.provider.in_effect("disable", "k-1")).state == "yes"

    async def test_a_key_it_does_not_know_is_no_success(self) -> None:
        async with on() as bench:
            with pytest.raises(Refused) as caught:
                await bench.provider.in_effect("revoke", "k-9")
            assert caught.value.reason is Reason.UNKNOWN_KEY

    @pytest.mark.parametrize("state", ["done", "yes", True, None, "APPLIED", ["applied"]])
    async def test_a_state_that_was_not_agreed_on_is_no_success(self, state: object) -> None:
        async with on() as bench:
            bench.server.faults.append(Misbehave(200, body({"state": state})))
            with pytest.raises(Retryable) as caught:
                await bench.provider.in_effect("disable", "k-1")
            assert caught.value.reason is Reason.NONSENSE

    async def test_its_words_are_shown_without_keys(self) -> None:
        async with on() as bench:
            said = {"state": "applied", "words": f"cut sk-proj-abcdefghijkl with {NEW}"}
            bench.server.faults.append(Misbehave(200, body(said)))
            assert await bench.provider.apply("disable", "k-1") == "your automation says applied: cut *** with ***"


class TestPreState:
    @pytest.mark.parametrize(
        ("pre_state", "words"),
        [
            ({"was": "sk-proj-abcdefghijkl"}, "looks like a key"),
            ({"was": NEW}, "looks like a key"),
            ({"was": "x" * 20_001}, "longer than 20,000"),
        ],
    )
    async def test_what_is_no_state_is_not_stored(self, pre_state: dict[str, str], words: str) -> None:
        async with on(pre_state=pre_state) as bench:
            with pytest.raises(Refused, match=words) as caught:
                await bench.provider.snapshot("k-1")
            assert "abcdefghijkl" not in str(caught.value)

    @pytest.mark.parametrize("pre_state", [{"quota": 7}, {"quota": None}, {"quota": {"a": "b"}}])
    async def test_only_words_are_stored(self, pre_state: dict[str, object]) -> None:
        async with on(pre_state=pre_state) as bench:
            with pytest.raises(Retryable) as caught:
                await bench.provider.snapshot("k-1")
            assert caught.value.reason is Reason.NONSENSE

    async def test_what_it_said_before_comes_back_with_the_undo(self) -> None:
        async with on() as bench:
            bench.works.keys["k-1"].add("disable")
            before = await bench.provider.snapshot("k-1")
            await bench.provider.undo("disable", "k-1", before)
            assert bench.works.keys["k-1"] == {"disable"}


async def test_what_was_declared_as_final_is_not_asked_back() -> None:
    async with on() as bench:
        with pytest.raises(Refused) as caught:
            await bench.provider.undo("revoke", "k-1", {"held": ""})
        assert caught.value.reason is Reason.FINAL
        assert bench.server.requests == []


def test_a_step_is_as_wide_as_it_was_declared() -> None:
    wide: dict[Step, StepSpec] = {"block": StepSpec(True, "account", 5, "Everybody.")}
    provider = WebhookProvider("portal", SecretStr(NEW), wide, base_url="http://127.0.0.1:9")
    assert provider.steps_of("k-1")["block"].scope == "account"
    assert provider.steps_of(" ") == {}
