"""What every switch promises, tried on each kind against a strict server of its documented shape."""

from __future__ import annotations

import dataclasses
import pkgutil
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from importlib import import_module

import pytest

import containment.switches
from containment.providers.errors import ProviderError, Reason, Refused, Retryable
from containment.switches.base import Switch, Turn
from containment.switches.build import KINDS
from tests.containment.servers.serve import Misbehave, body
from tests.containment.switch_benches import BENCHES, NEW, OLD, Bench

Call = Callable[[], Awaitable[object]]
HTTP = [name for name in BENCHES if name != "memory"]


@pytest.fixture
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    async with BENCHES[request.param]() as bench:
        yield bench


each_switch = pytest.mark.parametrize("bench", list(BENCHES), indirect=True)
each_over_http = pytest.mark.parametrize("bench", HTTP, indirect=True)


def calls(switch: Switch, turn: Turn) -> list[Call]:
    return [partial(switch.snapshot, turn), partial(switch.in_effect, turn), partial(switch.apply, turn)]


def test_every_kind_in_the_folder_is_on_a_bench_and_can_be_configured() -> None:
    modules = [
        import_module(f"containment.switches.{found.name}")
        for found in pkgutil.iter_modules(containment.switches.__path__)
    ]
    kinds = {module.KIND for module in modules if hasattr(module, "KIND")}
    assert kinds == {name.partition("/")[0] for name in BENCHES} == {*KINDS, "memory"}


@each_switch
async def test_users_get_the_backup_once_it_is_applied_and_not_before(bench: Bench) -> None:
    before = await bench.switch.in_effect(bench.turn)
    assert (before.state, bench.uses()) == ("unknown" if bench.blind else "no", OLD)
    assert await bench.switch.apply(bench.turn)
    assert ((await bench.switch.in_effect(bench.turn)).state, bench.uses()) == ("yes", NEW)


@each_switch
async def test_twice_is_the_same_as_once(bench: Bench) -> None:
    await bench.switch.apply(bench.turn)
    assert await bench.switch.apply(bench.turn)
    assert ((await bench.switch.in_effect(bench.turn)).state, bench.uses()) == ("yes", NEW)


@each_switch
async def test_undo_puts_back_what_the_snapshot_saw(bench: Bench) -> None:
    before = await bench.switch.snapshot(bench.turn)
    await bench.switch.apply(bench.turn)
    for _ in range(2):
        assert await bench.switch.undo(bench.turn, before)
        assert ((await bench.switch.in_effect(bench.turn)).state, bench.uses()) == ("no", OLD)


@each_switch
async def test_there_and_back_again_and_there(bench: Bench) -> None:
    for _ in range(3):
        before = await bench.switch.snapshot(bench.turn)
        await bench.switch.apply(bench.turn)
        assert bench.uses() == NEW
        await bench.switch.undo(bench.turn, before)
        assert bench.uses() == OLD


@each_switch
async def test_nothing_that_it_says_or_remembers_is_a_value(bench: Bench) -> None:
    before = await bench.switch.snapshot(bench.turn)
    said = [before, await bench.switch.apply(bench.turn), await bench.switch.in_effect(bench.turn)]
    said += [await bench.switch.undo(bench.turn, before), bench.turn.words, repr(bench.switch)]
    for value in (OLD, NEW, bench.secret):
        assert value not in repr(said)


@each_switch
async def test_a_place_or_a_standby_that_is_not_there_is_refused_for_good(bench: Bench) -> None:
    for turn in bench.nowhere:
        for call in calls(bench.switch, turn):
            with pytest.raises(Refused) as caught:
                await call()
            assert caught.value.reason is Reason.UNKNOWN_KEY
    assert bench.uses() == OLD


@each_switch
async def test_a_wrong_secret_is_told_as_one_and_changes_nothing(bench: Bench) -> None:
    stranger = bench.another(secret="whsec_" + "d3JvbmctMDEyMzQ1Njc4OTAxMjM0NTY3ODk=")
    for call in calls(stranger, bench.turn):
        with pytest.raises(Refused) as caught:
            await call()
        assert caught.value.reason is Reason.BAD_CREDENTIALS
        assert bench.secret not in str(caught.value) + repr(caught.value)
    assert bench.uses() == OLD


@each_switch
@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Misbehave(500), Reason.UNAVAILABLE),
        (Misbehave(503), Reason.UNAVAILABLE),
        (Misbehave(hang=True), Reason.TIMEOUT),
    ],
    ids=["500", "503", "hang"],
)
async def test_an_outage_is_worth_another_try(bench: Bench, fault: Misbehave, reason: Reason) -> None:
    switch = bench.another(secret=bench.secret, timeout_s=bench.impatient_s) if fault.hang else bench.switch
    for call in calls(switch, bench.turn):
        bench.fault(fault)
        with pytest.raises(Retryable) as caught:
            await call()
        assert caught.value.reason is reason
    assert bench.uses() == OLD


NONSENSE = [b"", b"<html>maintenance</html>", b'{"data": {"da', b"[]", b"null", b"7", body({"data": {"data": 7}})]


@each_over_http
@pytest.mark.parametrize("answer", NONSENSE)
async def test_an_answer_that_makes_no_sense_never_breaks_us_nor_passes_for_a_yes(bench: Bench, answer: bytes) -> None:
    for call in calls(bench.switch, bench.turn)[:2]:
        bench.fault(Misbehave(200, answer))
        try:
            said = await call()
        except ProviderError:
            continue
        assert said == {} or said[0] != "yes"  # type: ignore[index] # an effect


@each_over_http
@pytest.mark.parametrize("status", [500, 400])
async def test_a_change_that_happened_behind_an_error_is_seen_or_told_again(bench: Bench, status: int) -> None:
    bench.fault(Misbehave(status, after=True, changes_only=True))
    with pytest.raises(ProviderError):
        await bench.switch.apply(bench.turn)
    assert (await bench.switch.in_effect(bench.turn)).state == ("unknown" if bench.blind else "yes")
    assert bench.uses() == NEW
    await bench.switch.apply(bench.turn)
    assert (await bench.switch.in_effect(bench.turn)).state == "yes"


@each_over_http
async def test_one_change_is_one_request(bench: Bench) -> None:
    """Retrying is the executor's; a client that retries by itself would hide it from the audit."""
    bench.fault(Misbehave(500, changes_only=True))
    with pytest.raises(Retryable):
        await bench.switch.apply(bench.turn)
    assert bench.changes() == 1


@each_over_http
async def test_a_secret_that_is_quoted_reaches_nobody(bench: Bench) -> None:
    quoting = body({"errors": [f"cannot use {bench.secret} nor {OLD}"], "Message": f"{bench.secret} {NEW}"})
    for status in (400, 401, 403, 404, 422, 429, 500):
        bench.fault(dataclasses.replace(Misbehave(status, quoting)))
        with pytest.raises(ProviderError) as caught:
            await bench.switch.snapshot(bench.turn)
        shown = f"{caught.value} {caught.value!r} {caught.value.__cause__!r} {vars(caught.value)}"
        for value in (bench.secret, OLD, NEW):
            assert value not in shown
