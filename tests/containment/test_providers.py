"""What every provider promises, tried on each of them against a strict server of its documented shape."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import pkgutil
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from importlib import import_module

import pytest

import containment.providers
from containment.providers.base import Provider
from containment.providers.errors import ProviderError, Reason, Refused, Retryable
from schemas.records import Step
from tests.containment.benches import BENCHES, SECRET, Bench
from tests.containment.servers.serve import Misbehave, body

NOT_PROVIDERS = {  # what adapters are made of, not adapters
    "aws_api", "aws_iam", "azure_arm", "azure_identity", "base", "build", "declared", "errors", "google_keys",
    "google_rest", "harmless", "http", "openai_limits", "openai_project", "redact", "sdk_errors", "vault_api",
    "vault_leases",
}  # fmt: skip
STEPS: dict[str, tuple[Step, ...]] = {
    "openai": ("throttle", "degrade", "block", "revoke"),
    "kong": ("throttle", "block", "revoke"),
    "envoy": ("disable",),
    "webhook": ("disable", "revoke"),
    "command": ("disable", "revoke"),
    "anthropic": ("disable", "revoke"),
    "litellm": ("throttle", "block", "revoke"),
    "sandbox": ("throttle", "disable", "revoke"),
    "memory": ("throttle", "disable", "revoke"),
    "gate": ("throttle", "block"),
    "aws/iam": ("disable", "revoke"),
    "aws/bedrock": ("disable", "revoke"),
    "aws/role": ("block",),
    "aws/user": ("block",),
    "google/key": ("block", "revoke"),
    "google/account": ("disable", "revoke"),
    "azure": ("block", "revoke"),
    "azure/unmarked": ("block", "revoke"),
    "openrouter": ("throttle", "disable", "revoke"),
    "vault/lease": ("revoke",),
    "vault/prefix": ("revoke",),
    "vault/lease-openbao": ("revoke",),
    "vault/prefix-openbao": ("revoke",),
}
KEEPS_LEASES = [name for name in STEPS if name.startswith("vault/")]
COMES_BACK = {("google/key", "revoke")}  # what is deleted there can be had back
EACH = [(name, step) for name, steps in STEPS.items() for step in steps]
UNDOABLE = [(name, step) for name, step in EACH if step != "revoke" or (name, step) in COMES_BACK]


@pytest.fixture
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    async with BENCHES[request.param]() as bench:
        yield bench


each_provider = pytest.mark.parametrize("bench", list(BENCHES), indirect=True)
each_step = pytest.mark.parametrize(("bench", "step"), EACH, indirect=["bench"])
each_undoable_step = pytest.mark.parametrize(("bench", "step"), UNDOABLE, indirect=["bench"])


Call = Callable[[], Awaitable[object]]


def reads(provider: Provider, step: Step, ref: str) -> list[Call]:
    return [partial(provider.snapshot, ref), partial(provider.in_effect, step, ref)]


def calls(provider: Provider, step: Step, ref: str) -> list[Call]:
    return [*reads(provider, step, ref), partial(provider.apply, step, ref)]


def test_every_adapter_in_the_folder_is_on_a_bench() -> None:
    found = {module.name for module in pkgutil.iter_modules(containment.providers.__path__)} - NOT_PROVIDERS
    with_provider = {
        name
        for name in found
        for _, member in inspect.getmembers(import_module(f"containment.providers.{name}"), inspect.isclass)
        if member.__name__.endswith("Provider") and member.__module__.endswith(f".{name}")
    }
    assert found == with_provider == {name.partition("/")[0] for name in BENCHES}
    assert set(BENCHES) == set(STEPS)


@each_provider
async def test_its_steps_are_the_ones_listed_here_and_each_says_what_it_breaks(bench: Bench) -> None:
    name, steps = bench.provider.name, bench.provider.steps_of(bench.ref)
    assert tuple(steps) == STEPS[name]
    for step, spec in steps.items():
        assert spec.reversible == ((name, step) in UNDOABLE)
        assert spec.breaks.endswith(".")


@each_provider
async def test_the_steps_for_one_key_are_a_part_of_the_steps_and_asking_for_them_is_no_call(bench: Bench) -> None:
    for ref in (bench.ref, bench.unknown_ref, "", "no reference of any provider/", "../x"):
        for step, spec in bench.provider.steps_of(ref).items():
            assert spec.reversible or not bench.provider.steps[step].reversible  # seen without a key, the final one
            assert spec.breaks.endswith(".")
    assert bench.provider.steps_of(bench.ref)
    assert bench.changes() == 0


@each_step
async def test_a_step_holds_after_it_was_applied_and_not_before(bench: Bench, step: Step) -> None:
    before = await bench.provider.in_effect(step, bench.ref)
    assert await bench.provider.apply(step, bench.ref)
    after = await bench.provider.in_effect(step, bench.ref)
    assert (before.state, after.state) == ("no", "yes")


@each_step
async def test_another_process_that_is_told_how_the_key_stood_sees_what_was_done(bench: Bench, step: Step) -> None:
    """A restart in the middle of a command: what is done already must not be done again."""
    before = await bench.provider.snapshot(bench.ref)
    restarted = bench.another()
    assert (await restarted.in_effect(step, bench.ref, pre_state=before)).state == "no"
    await bench.provider.apply(step, bench.ref)
    assert (await bench.another().in_effect(step, bench.ref, pre_state=before)).state == "yes"


@each_step
async def test_applying_twice_is_the_same_as_once(bench: Bench, step: Step) -> None:
    await bench.provider.apply(step, bench.ref)
    assert await bench.provider.apply(step, bench.ref)
    assert (await bench.provider.in_effect(step, bench.ref)).state == "yes"


@each_undoable_step
async def test_undo_puts_back_what_the_snapshot_saw(bench: Bench, step: Step) -> None:
    before = await bench.provider.snapshot(bench.ref)
    await bench.provider.apply(step, bench.ref)
    assert await bench.provider.undo(step, bench.ref, before)
    assert (await bench.provider.in_effect(step, bench.ref)).state == "no"
    assert await bench.provider.snapshot(bench.ref) == before


@each_undoable_step
async def test_undo_leaves_a_key_cut_that_was_cut_before_us(bench: Bench, step: Step) -> None:
    await bench.provider.apply(step, bench.ref)
    before = await bench.provider.snapshot(bench.ref)
    await bench.provider.apply(step, bench.ref)
    await bench.provider.undo(step, bench.ref, before)
    assert (await bench.provider.in_effect(step, bench.ref)).state == "yes"


@pytest.mark.parametrize("bench", [name for name, step in EACH if (name, step) not in UNDOABLE], indirect=True)
async def test_a_revoked_key_cannot_come_back(bench: Bench) -> None:
    before = await bench.provider.snapshot(bench.ref)
    await bench.provider.apply("revoke", bench.ref)
    with pytest.raises(Refused) as caught:
        await bench.provider.undo("revoke", bench.ref, before)
    assert caught.value.reason is Reason.FINAL
    assert (await bench.provider.in_effect("revoke", bench.ref)).state == "yes"


@each_provider
async def test_a_step_it_does_not_have_is_refused(bench: Bench) -> None:
    for call in (bench.provider.apply("notify", bench.ref), bench.provider.in_effect("notify", bench.ref)):
        with pytest.raises(Refused) as caught:
            await call
        assert caught.value.reason is Reason.NOT_SUPPORTED


@each_provider
async def test_a_probe_where_it_exists_tells_a_cut_key_from_a_live_one(bench: Bench) -> None:
    live = await bench.provider.probe(STEPS[bench.provider.name][-1], bench.ref)
    await bench.provider.apply(STEPS[bench.provider.name][-1], bench.ref)
    cut = await bench.provider.probe(STEPS[bench.provider.name][-1], bench.ref)
    if live is None:
        assert cut is None
    else:
        assert cut is not None
        assert (live.state, cut.state) == ("no", "yes")


@each_step
async def test_a_wrong_admin_key_is_refused_for_good(bench: Bench, step: Step) -> None:
    stranger = bench.another(secret="wrong-" + SECRET)
    for call in calls(stranger, step, bench.ref):
        with pytest.raises(Refused) as caught:
            await call()
        assert caught.value.reason is Reason.BAD_CREDENTIALS
        assert SECRET not in str(caught.value) + repr(caught.value)
    assert (await bench.provider.in_effect(step, bench.ref)).state == "no"


@each_undoable_step
async def test_an_unknown_key_is_refused_for_good(bench: Bench, step: Step) -> None:
    undo: Call = partial(bench.provider.undo, step, bench.unknown_ref, {})
    for call in (*calls(bench.provider, step, bench.unknown_ref), undo):
        with pytest.raises(Refused) as caught:
            await call()
        assert caught.value.reason is Reason.UNKNOWN_KEY


@pytest.mark.parametrize("bench", ["openai", "litellm", "openrouter", *KEEPS_LEASES], indirect=True)
async def test_a_key_unknown_from_the_start_is_not_taken_for_a_deleted_one(bench: Bench) -> None:
    """Deleting leaves nothing to read, so the snapshot before is what tells a typing mistake from success."""
    with pytest.raises(Refused) as caught:
        await bench.provider.snapshot(bench.unknown_ref)
    assert caught.value.reason is Reason.UNKNOWN_KEY


@each_step
async def test_a_rate_limit_says_when_to_come_back(bench: Bench, step: Step) -> None:
    bench.fault(Misbehave(429, headers={"retry-after": "7", "content-type": "application/json"}, changes_only=True))
    with pytest.raises(Retryable) as caught:
        await bench.provider.apply(step, bench.ref)
    assert (caught.value.reason, caught.value.retry_after_s) == (Reason.RATE_LIMITED, 7.0)


@each_step
@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Misbehave(500), Reason.UNAVAILABLE),
        (Misbehave(503), Reason.UNAVAILABLE),
        (Misbehave(hang=True), Reason.TIMEOUT),
    ],
    ids=["500", "503", "hang"],
)
async def test_an_outage_is_worth_another_try(bench: Bench, step: Step, fault: Misbehave, reason: Reason) -> None:
    provider = bench.another(timeout_s=bench.impatient_s) if fault.hang else bench.provider
    for call in calls(provider, step, bench.ref):
        bench.fault(fault)
        with pytest.raises(Retryable) as caught:
            await call()
        assert caught.value.reason is reason
    assert (await bench.provider.in_effect(step, bench.ref)).state == "no"


NONSENSE = {
    "empty": b"",
    "html": b"<html>maintenance</html>",
    "cut short": b'{"id": "key_li',
    "a list": b"[]",
    "null": b"null",
    "a number": b"7",
    "other fields": body({"hello": "world"}),
    "other types": body({"id": 7, "status": [], "info": "?", "blocked": "?", "key_id": None, "deleted": "perhaps"}),
}


@each_step
@pytest.mark.parametrize("content_type", ["application/json", "text/html"])
async def test_an_answer_that_makes_no_sense_never_breaks_us(bench: Bench, step: Step, content_type: str) -> None:
    for name, answer in NONSENSE.items():
        wrong = Misbehave(200, answer, {"content-type": content_type})
        for call in reads(bench.provider, step, bench.ref):
            bench.fault(wrong)
            with pytest.raises(ProviderError):
                print(name, await call())  # noqa: T201 - shown when the test fails
        bench.fault(dataclasses.replace(wrong, changes_only=True))
        with contextlib.suppress(ProviderError):  # an answer to a change may be ignored: reading back decides
            await bench.provider.apply(step, bench.ref)
        assert (await bench.provider.in_effect(step, bench.ref)).state == "no"


@each_step
@pytest.mark.parametrize(
    "fault",
    [
        Misbehave(500, after=True, changes_only=True),
        Misbehave(400, after=True, changes_only=True),
        Misbehave(hang=True, after=True, changes_only=True),
    ],
    ids=["500", "400", "hang"],
)
async def test_a_change_that_happened_behind_an_error_is_seen(bench: Bench, step: Step, fault: Misbehave) -> None:
    before = await bench.provider.snapshot(bench.ref)
    provider = bench.another(timeout_s=bench.impatient_s) if fault.hang else bench.provider
    bench.fault(fault)
    with pytest.raises(ProviderError):
        await provider.apply(step, bench.ref)
    assert (await bench.provider.in_effect(step, bench.ref, pre_state=before)).state == "yes"


@each_step
async def test_one_call_is_one_request(bench: Bench, step: Step) -> None:
    """Retrying is the executor's; a client that retries by itself would hide it from the audit."""
    bench.fault(Misbehave(500, changes_only=True))
    with pytest.raises(Retryable):
        await bench.provider.apply(step, bench.ref)
    assert bench.changes() == 1


@each_provider
async def test_a_secret_that_the_provider_quotes_reaches_nobody(bench: Bench) -> None:
    quoting = body({"error": {"message": f"cannot use {bench.quoted} nor sk-proj-abcdefghijklmnop", "type": "x"}})
    for status in (400, 401, 403, 404, 422, 429, 500):
        bench.fault(Misbehave(status, quoting))
        with pytest.raises(ProviderError) as caught:
            await bench.provider.snapshot(bench.ref)
        shown = f"{caught.value} {caught.value!r} {caught.value.__cause__!r} {bench.provider!r} {vars(caught.value)}"
        assert bench.quoted not in shown
        assert "abcdefghijklmnop" not in shown
