"""A cut is tried at the front door with the key itself, where its secret is at hand; which goes nowhere else."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest
from pydantic import SecretStr

from containment.backup import Activation
from containment.probed import BEFORE, ProbedProvider, SecretGone
from containment.providers.harmless import KINDS, HarmlessCall, has_call
from containment.providers.memory import MemoryProvider
from schemas.config.responses import RetryConfig
from schemas.config.wiring import ProviderConfig
from schemas.records import StepState
from tests.containment.build import command, facts
from tests.containment.front_doors import FRONT_DOORS, Door, FrontDoor
from tests.containment.servers.serve import Faulty, Misbehave, serving
from tests.containment.test_execute import Stage

SECRET = "its-value"
PASSING = RetryConfig(attempts=3, wait_initial_s=0.5, wait_max_s=4, verify_s=30)


@pytest.fixture
async def front(request: pytest.FixtureRequest) -> AsyncIterator[FrontDoor]:
    async with FRONT_DOORS[request.param]() as found:
        yield found


each_kind = pytest.mark.parametrize("front", list(FRONT_DOORS), indirect=True)
an_openrouter = pytest.mark.parametrize("front", ["openrouter"], indirect=True)


def test_every_kind_with_a_call_of_its_own_is_tried_here() -> None:
    assert FRONT_DOORS.keys() >= KINDS.keys()


@each_kind
async def test_a_key_is_served_until_it_is_cut_and_again_after_the_undo(front: FrontDoor) -> None:
    before = await front.provider.snapshot(front.ref)
    seen = [await front.provider.probe(front.cut, front.ref)]
    await front.provider.apply(front.cut, front.ref)
    seen.append(await front.provider.probe(front.cut, front.ref))
    if front.provider.steps_of(front.ref)[front.cut].reversible:
        await front.provider.undo(front.cut, front.ref, before)
        seen.append(await front.provider.probe(front.cut, front.ref))
    states = [each.state for each in seen if each]
    assert before[BEFORE] == "no"
    assert states == ["no", "yes", "no"][: len(seen)]
    assert "a call" in str(seen[1]) or "calls" in str(seen[1])


@each_kind
@pytest.mark.parametrize("status", [302, 400, 404, 429, 500, 503])
async def test_what_is_neither_success_nor_refusal_says_nothing(front: FrontDoor, status: int) -> None:
    for door in front.doors:
        door.faults.append(Misbehave(status, b"{}", {"location": "http://127.0.0.1:9/"}))
    seen = await front.provider.probe(front.cut, front.ref)
    assert seen is not None
    assert seen.state == "unknown"
    assert str(status) in seen.words


@each_kind
async def test_a_door_that_does_not_answer_says_nothing_and_does_not_hold_up_the_cut(front: FrontDoor) -> None:
    impatient = front.with_secret(front.secret, timeout_s=0.2)
    for door in front.doors:
        door.faults.append(Misbehave(hang=True))
    seen = await impatient.probe(front.cut, front.ref)
    assert seen is not None
    assert (seen.state, "no answer in time" in seen.words) == ("unknown", True)


async def test_a_call_that_hangs_does_not_hold_up_the_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("containment.probed.PATIENCE_S", 0.05)
    async with FRONT_DOORS["kong"]() as front:
        front.doors[0].faults.append(Misbehave(hang=True))
        async with asyncio.timeout(5):  # the call itself would have ten
            before = await front.provider.snapshot(front.ref)
        assert before[BEFORE] == "unknown"


@pytest.mark.parametrize("front", ["litellm"], indirect=True)
async def test_all_replicas_must_refuse_and_each_is_named(front: FrontDoor) -> None:
    await front.provider.apply(front.cut, front.ref)
    front.doors[1].faults.append(Misbehave(200, b"{}"))  # this one has not heard of it
    one_serves = await front.provider.probe(front.cut, front.ref)
    front.doors[0].faults.append(Misbehave(503))
    one_is_silent = await front.provider.probe(front.cut, front.ref)
    all_refuse = await front.provider.probe(front.cut, front.ref)
    assert one_serves
    assert one_is_silent
    assert all_refuse
    assert (one_serves.state, one_is_silent.state, all_refuse.state) == ("no", "unknown", "yes")
    assert "answered 401 at 127.0.0.1:" in one_serves.words
    assert "answered 200 at 127.0.0.1:" in one_serves.words


@pytest.mark.parametrize("front", ["google"], indirect=True)
async def test_google_says_403_of_much_that_is_not_the_key(front: FrontDoor) -> None:
    for reason, state in (("SERVICE_DISABLED", "unknown"), ("API_KEY_SERVICE_BLOCKED", "yes"), ("", "unknown")):
        told = f'{{"error": {{"details": [{{"reason": "{reason}"}}]}}}}' if reason else "<html>"
        front.doors[0].faults.append(Misbehave(403, told.encode()))
        seen = await front.provider.probe(front.cut, front.ref)
        assert seen is not None
        assert seen.state == state


@each_kind
async def test_the_secret_is_nowhere_but_in_the_call(front: FrontDoor, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.WARNING, logger="httpcore")  # as `service.logs` has it, whatever the level
    secret = "sk-canary-0123456789"
    said = []
    for answer in (200, 401, 418, 500):
        for door in front.doors:
            door.faults.append(Misbehave(answer, f"you sent {secret}".encode(), {"x-echo": secret}))
        said.append(str(await front.with_secret(secret).probe(front.cut, front.ref)))
    for broken in (f"{secret}\n", f"{secret}\x00", f"{secret}ключ", f"{secret}\ud800"):
        said.append(str(await front.with_secret(broken).probe(front.cut, front.ref)))
        assert "unknown" in said[-1]
    said += [repr(front.with_secret(secret)), repr(vars(front.with_secret(secret))), caplog.text]
    assert "canary" not in "".join(said)


@an_openrouter
async def test_without_the_secret_it_is_as_before(front: FrontDoor) -> None:
    bare = front.with_secret(None)
    assert await bare.probe(front.cut, front.ref) is None
    assert BEFORE not in await bare.snapshot(front.ref)
    assert await front.provider.probe(front.cut, "0" * 64) is None  # nobody gave the secret of this one


@an_openrouter
async def test_a_secret_that_cannot_be_read_any_more_is_said(front: FrontDoor) -> None:
    def gone(ref: str) -> SecretStr | None:
        raise SecretGone("probe secret of key-1: /run/secrets/key-1 cannot be read")

    provider = ProbedProvider(front.inner, HarmlessCall(front.config, timeout_s=1), gone)
    seen = await provider.probe(front.cut, front.ref)
    assert seen is not None
    assert seen.state == "unknown"
    assert "/run/secrets/key-1 cannot be read" in seen.words
    assert (await provider.snapshot(front.ref))[BEFORE] == "unknown"


@an_openrouter
async def test_a_secret_that_never_worked_proves_nothing(front: FrontDoor) -> None:
    """Or another key's secret would confirm every cut and deny every undo."""
    provider = front.with_secret("sk-or-of-another-key")
    before = await provider.snapshot(front.ref)
    seen = await provider.probe("disable", front.ref)
    await provider.apply("disable", front.ref)
    cut = await provider.probe("disable", front.ref)
    afterwards = front.with_secret("sk-or-of-another-key")  # after a restart
    await afterwards.undo("disable", front.ref, before)
    undone = await afterwards.probe("disable", front.ref)
    assert seen
    assert cut
    assert undone
    assert (before[BEFORE], seen.state, cut.state, undone.state) == ("yes", "no", "yes", "no")
    assert "proves nothing" in cut.words


@an_openrouter
async def test_also_where_it_was_seen_by_a_process_that_is_gone_and_the_undo_as_well(front: FrontDoor) -> None:
    provider = front.with_secret("sk-or-of-another-key")
    before = await provider.snapshot(front.ref)
    afterwards = front.with_secret("sk-or-of-another-key")
    await afterwards.in_effect("disable", front.ref, pre_state=before)  # it holds no more: nothing is undone
    seen = await afterwards.probe("disable", front.ref)
    assert seen
    assert (seen.state, "proves nothing" in seen.words) == ("no", True)


@an_openrouter
async def test_a_backup_that_is_refused_before_it_is_enabled_must_be_served_afterwards(front: FrontDoor) -> None:
    provider = front.with_secret("sk-or-of-another-key")  # or its front door goes on refusing
    backup = Activation(provider)
    await provider.apply("disable", front.ref)
    await backup.snapshot(front.ref)
    await backup.apply("switch", front.ref)
    seen = await backup.in_effect("switch", front.ref)
    assert (seen.state, "answered 401" in seen.words) == ("no", True)


async def test_what_the_look_before_found_is_not_sent_to_your_automation() -> None:
    async with FRONT_DOORS["webhook"]() as front:
        before = await front.provider.snapshot(front.ref)
        await front.provider.apply("disable", front.ref)
        await front.provider.undo("disable", front.ref, {**before, "own": "word"})  # it would refuse a field of ours
        assert (await front.provider.in_effect("disable", front.ref)).state == "no"


@pytest.mark.parametrize("front", ["openai"], indirect=True)
async def test_a_list_of_models_says_nothing_of_a_spend_limit(front: FrontDoor) -> None:
    assert await front.provider.probe("block", front.ref) is None
    assert await front.provider.probe("revoke", front.ref) is not None


async def test_a_service_accounts_key_is_no_header() -> None:
    call = HarmlessCall(ProviderConfig(kind="google"), timeout_s=1)
    assert not call.notices("disable", "projects/shop/serviceAccounts/a@b/keys/1")
    assert call.notices("block", "projects/shop/locations/global/keys/1")
    await call.close()


def test_a_kind_without_a_call_needs_an_address() -> None:
    assert not has_call(ProviderConfig(kind="vault"))
    assert not has_call(ProviderConfig(kind="kong", base_url="http://127.0.0.1:9"))
    assert has_call(ProviderConfig(kind="vault", probe_url="http://127.0.0.1:9"))


@pytest.mark.parametrize(
    ("settings", "asked"),
    [
        ({"kind": "vault", "probe_url": "URL/models/"}, ["/models/"]),
        ({"kind": "openai", "base_url": "URL/v1/"}, ["/v1/models"]),
        ({"kind": "openai", "base_url": "http://127.0.0.1:9/v1", "probe_url": "URL/a , URL/b,"}, ["/a", "/b"]),
        ({"kind": "google", "base_url": "http://127.0.0.1:9", "probe_url": "URL/v1beta/models"}, ["/v1beta/models"]),
        ({"kind": "azure", "probe_url": "URL/{account}/models"}, ["/shop/models"]),
    ],
)
async def test_the_call_goes_where_the_settings_say(settings: dict[str, str], asked: list[str]) -> None:
    door = Faulty(Door("authorization", f"Bearer {SECRET}", lambda: True))
    async with serving(door) as url:
        config = ProviderConfig.model_validate({name: text.replace("URL", url) for name, text in settings.items()})
        call = HarmlessCall(config, timeout_s=5)
        await call.look("6b1f8a54-0000-4000-8000-1d2e3f405162/ai-prod/shop/Key1", SecretStr(SECRET))
        await call.close()
    assert sorted(path for _, path in door.requests) == asked


async def test_a_provider_with_a_probe_of_its_own_keeps_it() -> None:
    call = HarmlessCall(ProviderConfig(kind="memory"), timeout_s=1)
    provider = ProbedProvider(MemoryProvider("memory", ("k1",)), call, lambda _: SecretStr(SECRET))
    seen = await provider.probe("disable", "k1")
    assert seen is not None
    assert seen.words == "served"
    await provider.close()


@each_kind
async def test_a_command_is_confirmed_by_the_refusal_itself(front: FrontDoor) -> None:
    stage = Stage(front.provider, retry=PASSING)
    order = command(front.ref, front.cut, facts=facts(provider_ref=front.ref))
    outcome = await stage.run(order)
    assert outcome.state is StepState.CONFIRMED
    assert "answered 40" in outcome.detail
    assert front.secret not in f"{outcome}{stage.rows}{stage.saved}"
    if order.reversible:
        back = await stage.run(command(front.ref, "restore", facts=facts(provider_ref=front.ref)), {
            front.cut: stage.saved[order.command_id]
        })  # fmt: skip
        assert back.state is StepState.CONFIRMED
        assert "answered 200" in back.detail


@pytest.mark.parametrize("front", ["envoy"], indirect=True)
async def test_a_gateway_that_goes_on_serving_is_no_success_whatever_the_books_say(front: FrontDoor) -> None:
    stage = Stage(front.provider, retry=PASSING)
    front.doors[0].faults.extend([Misbehave(200, b"{}")] * 100)
    outcome = await stage.run(command(front.ref, front.cut, facts=facts(provider_ref=front.ref)))
    assert outcome.state is StepState.IRREVOCABLE
    assert "a call with the key: answered 200" in outcome.detail
