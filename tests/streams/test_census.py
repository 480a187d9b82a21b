"""What the census finds reaches the decide stage once; stale keys come from the archive."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from controls.census import Census
from controls.registry import Registry
from schemas.config import BudgetsConfig, ResponsesConfig
from schemas.config.keys import KeyConfig, KeysConfig
from schemas.records import CENSUS_PREFIX, Finding, KeyFacts, Record, Request
from storage.client import open_store
from storage.migrate import migrate
from storage.owners import write_owners
from storage.store import Store
from storage.testing import fresh_dsn
from streams.census import CensusTaker
from streams.decide_core import NO_SINGLE_KEY, Decider, offers
from streams.metrics import Metrics
from streams.stale_keys import EVERY_S, StaleKeys
from streams.topics import Topic
from streams.uses import Used
from tests.storage.frames import HOUR_MS, T0, Use, archive_uses, frame
from tests.streams.world import MemoryShards

DAY_MS = 24 * HOUR_MS


class Kept:
    """An outbox that keeps what it is given."""

    def __init__(self) -> None:
        self.sent: list[tuple[Topic, str, Record]] = []
        self.gone = False

    async def send(self, topic: Topic, records: list[tuple[str, Record]]) -> None:
        if self.gone:
            raise ConnectionError("the broker is gone")
        self.sent += [(topic, name, record) for name, record in records]


def a_taker(kept: Kept, shards: MemoryShards, metrics: Metrics) -> CensusTaker:
    registry = Registry(KeysConfig(keys=(KeyConfig(key_id="fp1:known", provider="openai"),)))
    census = Census(entry=registry.entry, registered=lambda: len(registry))
    return CensusTaker(census, store=shards, outbox=kept, metrics=metrics)  # type: ignore[arg-type]  # as much as is used


def used() -> Used:
    shown = frame([Use("a", 0, key_id="fp1:new"), Use("b", 1, key_id="fp1:known")])
    return Used(3, shown, shown.column("ts_ms").to_numpy() > 0, T0 // 1000)


async def test_what_a_frame_shows_is_told_as_findings() -> None:
    kept, metrics = Kept(), Metrics()
    taker = a_taker(kept, MemoryShards(), metrics)
    for _ in range(2):
        await taker.saw(used())
    await taker.tick(now_s=1, now_ms=T0)
    [(topic, name, finding)] = kept.sent
    assert (topic, name) == (Topic.FINDINGS, "fp1:new")
    assert isinstance(finding, Finding)
    assert b'keyfuse_findings_total{family="identity",severity="warning"} 1.0' in metrics.render()
    assert b"keyfuse_census_keys 2.0" in metrics.render()


async def test_what_was_told_is_stored_before_it_is_sent_and_said_again_as_the_same() -> None:
    kept, shards = Kept(), MemoryShards()
    kept.gone = True
    with pytest.raises(ConnectionError):
        await a_taker(kept, shards, Metrics()).saw(used())
    [stored] = shards.values.values()
    kept.gone = False
    for _ in range(2):  # two restarts
        taker = a_taker(kept, shards, Metrics())
        taker.drop()
        taker.restored(3, shards.values | {b"3:clock": b"17", b"3:0": b"state of the sums"})
        await taker.saw(used())
    assert [record.to_bytes() for _, _, record in kept.sent] == [stored, stored]
    assert list(shards.values) == [b"3:told:unknown_key:fp1:new"]


def a_finding(key_id: str, provider: str = "openai", detector: str = "unknown_key") -> Finding:
    return Finding(
        finding_id=f"fnd_{detector}_{key_id}", at_ms=T0, key_id=key_id, family="identity", detector=detector,
        severity="warning", score=0.0, certain=False, reason="it is in use and not registered", evidence={},
        usd_per_min=0.0, expected_usd_per_min=0.0, facts=KeyFacts(provider=provider, env="prod"),
    )  # fmt: skip


@pytest.fixture
def decider() -> Decider:
    return Decider(ResponsesConfig(mode="auto"), BudgetsConfig(), offers({}))


def test_it_opens_an_incident_that_orders_nothing_and_waits_for_a_person(decider: Decider) -> None:
    decision = decider.finding(None, a_finding("fp1:new"))
    [incident] = decision.incidents
    assert (incident.severity, incident.families, decision.commands) == ("warning", ("identity",), ())
    later = decider.silence(decision.case, T0 + 7 * DAY_MS)
    assert (later.incidents, later.reason) == (
        (), "whose use this is does not get clear by silence: a person must register the key or resolve it"
    )  # fmt: skip
    assert decider.finding(decision.case, a_finding("fp1:new")).incidents == ()


REGISTERED = Decider(ResponsesConfig(mode="auto"), BudgetsConfig(), offers({}), registered=lambda _key_id: True)


def test_it_is_over_when_the_key_is_registered(decider: Decider) -> None:
    opened = decider.finding(None, a_finding("fp1:new"))
    over = REGISTERED.silence(opened.case, 0)
    assert [(one.state, one.by, one.transition) for one in over.incidents] == [
        ("resolved", "keyfuse", "Resolved: the key is registered now.")
    ]
    assert REGISTERED.silence(over.case, 0).incidents == ()
    assert decider.silence(opened.case, T0 + DAY_MS).incidents == ()


@pytest.mark.parametrize("detector", ["two_environments", "two_networks"])
def test_what_more_there_is_to_say_of_it_is_not_over_then(decider: Decider, detector: str) -> None:
    opened = decider.finding(None, a_finding("fp1:new"))
    more = decider.finding(opened.case, a_finding("fp1:new", detector=detector))
    for case in (more.case, decider.finding(None, a_finding("fp1:new", detector=detector)).case):
        assert REGISTERED.silence(case, T0 + DAY_MS).incidents == ()


def test_the_incident_of_many_keys_has_no_key_to_cut(decider: Decider) -> None:
    many = f"{CENSUS_PREFIX}unknown keys"
    decision = decider.finding(None, a_finding(many, provider=""))
    assert len(decision.incidents) == 1
    assert decision.incidents[0].of_no_key
    cut = Request(request_id="r", at_ms=T0, by="ann", action="contain", key_id=many)
    refused = decider.request(decision.case, cut)
    assert (refused.commands, refused.reason) == ((), NO_SINGLE_KEY)
    seen = decider.request(decision.case, cut.model_copy(update={"action": "resolve", "request_id": "s"}))
    assert seen.incidents[0].state == "resolved"


@pytest.fixture
def store() -> Iterator[Store]:
    opened = open_store(fresh_dsn())
    migrate(opened, retention_days=36_500)
    yield opened
    opened.close()


def test_stale_keys_are_asked_of_the_archive(store: Store) -> None:
    keys = [KeyConfig(key_id=name, provider="openai", created="2026-01-01") for name in ("fp1:used", "fp1:rests")]
    registry = Registry(KeysConfig(keys=(*keys, KeyConfig(key_id="fp1:undated", provider="openai"))))
    archive_uses(store, [Use("a", 0, key_id="fp1:used"), Use("b", 1, key_id="fp1:rests", ts_ms=T0 - 50 * DAY_MS)])
    write_owners(store, registry.entries(), now_ms=T0)
    clock = [0.0]
    keeper = StaleKeys(lambda: registry, lambda: 30.0, now_s=lambda: clock[0], now_ms=lambda: T0)
    assert not keeper.due(), "what was used last may not be archived yet"
    clock[0] = 200.0
    assert keeper.due()
    assert [finding.key_id for finding in keeper.find(store)] == ["fp1:rests"]
    assert not keeper.due()
    clock[0] += EVERY_S
    assert keeper.due()
