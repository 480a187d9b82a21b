"""A backup kept inactive is enabled at each provider, and stopped again; nobody is told of one that does not work."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from containment.backup import ACTIVATE, Activation, Backup, Begun, Standing, parts_of, why_not
from containment.ladder import CUTS
from containment.providers.base import Provider
from containment.providers.errors import Reason, Refused
from containment.providers.memory import MemoryProvider
from containment.switches.base import Turn
from containment.switches.memory import MemorySwitch
from schemas.records import KeyFacts, Step
from tests.containment.benches import BENCHES, Bench

WELL = Standing(open_incident=False, cut=False, switched_away=False)
BY_PEOPLE = {"google/key": "block", "envoy": "disable"}  # to lift it takes what was saved before
NOTHING_TO_LIFT = {
    "openai",
    "aws/role",
    "aws/user",
    "azure",
    "azure/unmarked",
    "vault/lease",
    "vault/lease-openbao",
    "vault/prefix",
    "vault/prefix-openbao",
    "kong",
}  # for the key alone
ENABLED = sorted({*BENCHES} - {*BY_PEOPLE} - NOTHING_TO_LIFT)


def stops(provider: Provider, ref: str) -> list[Step]:
    specs = provider.steps_of(ref)
    return [step for step in specs if step in CUTS and specs[step].reversible and specs[step].scope == "key"]


@pytest.fixture
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    async with BENCHES[request.param]() as bench:
        yield bench


@pytest.mark.parametrize("bench", ENABLED, indirect=True)
async def test_a_backup_kept_inactive_is_enabled_and_stopped_again(bench: Bench) -> None:
    activation = Activation(bench.provider)
    for step in stops(bench.provider, bench.ref)[:1]:
        await bench.provider.apply(step, bench.ref)
    assert (await activation.in_effect("switch", bench.ref)).state == "no"
    before = await activation.snapshot(bench.ref)
    await activation.apply("switch", bench.ref)
    assert (await activation.in_effect("switch", bench.ref)).state == "yes"
    await activation.undo("switch", bench.ref, before)
    assert (await activation.in_effect("switch", bench.ref)).state == "no"


@pytest.mark.parametrize("bench", list(BENCHES), indirect=True)
async def test_a_backup_that_works_is_left_as_it_is(bench: Bench) -> None:
    activation = Activation(bench.provider)
    before = await activation.snapshot(bench.ref)
    assert (await activation.in_effect("switch", bench.ref)).state == "yes"
    await activation.undo("switch", bench.ref, before)
    assert (await activation.in_effect("switch", bench.ref)).state == "yes"


@pytest.mark.parametrize("bench", sorted(NOTHING_TO_LIFT), indirect=True)
async def test_where_nothing_stops_one_key_alone_and_can_be_undone_nothing_is_lifted(bench: Bench) -> None:
    assert stops(bench.provider, bench.ref) == []
    with pytest.raises(Refused) as caught:
        await Activation(bench.provider).apply("switch", bench.ref)
    assert caught.value.reason is Reason.REJECTED


@pytest.mark.parametrize("bench", ["openai", "kong", "azure", "aws/user"], indirect=True)
async def test_a_backup_that_is_stopped_with_all_its_neighbours_is_seen_and_left_to_people(bench: Bench) -> None:
    await bench.provider.apply("block", bench.ref)
    activation = Activation(bench.provider)
    assert (await activation.in_effect("switch", bench.ref)).state == "no"
    with pytest.raises(Refused, match="only people lift that"):
        await activation.apply("switch", bench.ref)
    assert (await bench.provider.in_effect("block", bench.ref)).state == "yes"


async def test_a_key_without_its_restrictions_is_never_opened_to_everything() -> None:
    async with BENCHES["google/key"]() as bench:
        await bench.provider.apply("block", bench.ref)
        with pytest.raises(Refused, match="nobody saved its restrictions") as caught:
            await Activation(bench.provider).apply("switch", bench.ref)
        assert caught.value.reason is Reason.FINAL


async def test_a_backup_that_its_provider_refuses_although_nothing_stops_it_does_not_count_as_active() -> None:
    provider = MemoryProvider("memory", ("k2",), lag=1)
    provider._stale["k2"] = 1  # the probe meets another state than the books
    assert (await Activation(provider).in_effect("switch", "k2")).state == "no"


@pytest.mark.parametrize(
    ("standing", "step", "words"),
    [
        (WELL, "disable", ""),
        (WELL, "block", "block of k1 stops its backup k2 as well"),
        (WELL._replace(cut=True), "disable", "the backup k2 is cut itself"),
        (WELL._replace(open_incident=True), "disable", "the backup k2 has an open incident itself"),
        (WELL._replace(switched_away=True), "disable", "the users of the backup k2 were sent away from it"),
    ],
)
def test_why_nobody_may_be_sent_to_a_backup(standing: Standing, step: Step, words: str) -> None:
    spare = Backup("k2", KeyFacts(provider="openai"), (), frozenset({"block"}))
    assert why_not("k1", spare, standing, step) == words


def test_a_backup_nobody_registered_and_the_key_itself_are_none() -> None:
    assert why_not("k1", Backup("k2", None, ()), WELL, "disable") == "the backup k2 is not in keys.yaml"
    assert why_not("k1", Backup("k1", KeyFacts(provider="p"), ()), WELL, "disable") == "k1 is named as its own backup"


def test_the_backup_is_activated_before_anybody_is_told_place_by_place() -> None:
    places = tuple((name, Turn("k1", "k2", secret, "s")) for name, secret in (("b", "two"), ("a", "one")))
    backup = Backup("k2", KeyFacts(provider="memory", provider_ref="ref-2"), places)
    parts = parts_of(backup, {"memory": MemoryProvider("memory", ("ref-2",))}, {"a": MemorySwitch("a", {})})
    assert [(part.name, part.key_id, part.ref) for part in parts] == [
        (ACTIVATE, "k2", "ref-2"), ("b:two", "k1", "two from s"), ("a:one", "k1", "one from s"),
    ]  # fmt: skip


def test_a_backup_of_a_provider_nobody_configured_is_taken_to_be_active() -> None:
    assert parts_of(Backup("k2", KeyFacts(provider="other"), ()), {}, {}) == []


def test_what_is_taken_back_is_not_done_any_more() -> None:
    begun = Begun(backup="k2", live=True, done=True, pre={ACTIVATE: {}, "kv:shop": {}})
    assert begun.without("kv:shop") == Begun(backup="k2", live=True, pre={ACTIVATE: {}})
    assert not begun.without(ACTIVATE).live
