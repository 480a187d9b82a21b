"""What a person does in PagerDuty arrives at a real worker: in the incident, in the store, and on every channel."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from schemas.config.people import PersonConfig
from schemas.records import AuditRow, Request
from service.tansu import Tansu
from storage.rows import record_row
from streams.topics import Topic
from tests.alerting.pagerduty_service import call, sign, user
from tests.alerting.world import incident
from tests.brokers import Broker
from tests.integration.faust_engine import read_all
from tests.integration.test_intake_http import PausedBroker
from tests.integration.uses import T0_MS, theft, use
from tests.integration.world import World, running, until

pytestmark = pytest.mark.asyncio(loop_scope="module")
WATCHED, UNPROVED = "key_on_the_pager", "key_of_a_forger"
PARTS: dict[str, Any] = {
    "keys": (WATCHED, UNPROVED), "key_modes": {WATCHED: "observe", UNPROVED: "observe"},
    "people": {"rosa": PersonConfig(role="responder", pagerduty="PROSA1")},
}  # fmt: skip


async def post(world: World, body: bytes, signature: str | None = None) -> httpx.Response:
    headers = {"x-pagerduty-signature": sign(body) if signature is None else signature}
    return await world.http.post("/v1/pagerduty", content=body, headers=headers | {"authorization": ""})


def by_rosa(
    incident_id: str, event_type: str = "incident.acknowledged", *, event_id: str = "01EVENT", who: str = "PROSA1"
) -> bytes:
    now_ms = time.time_ns() // 1_000_000
    title = f"CRITICAL, open: somebody's key [{incident_id}]"
    return call(event_type, now_ms, agent=user(who), event_id=event_id, title=title)


async def opened(world: World, key_id: str, start_ms: int = T0_MS) -> str:
    """The id of the key's open incident, of which PagerDuty was told."""
    await world.produce(*theft(key_id, start_ms), use("a close", key_id, start_ms + 9000), key=key_id)

    def told() -> bool:
        found = world.incident(key_id)
        return found is not None and world.board.pages(found.incident_id)[:1] == ["trigger"]

    await until(told, "PagerDuty is told of the incident")
    found = world.incident(key_id)
    assert found is not None
    strangers = by_rosa(found.incident_id, who="PSTRANGE", event_id=f"01BY-A-STRANGER-{key_id}")

    async def known() -> bool:
        return (await post(world, strangers)).status_code == 202

    def audited() -> bool:
        rows: list[AuditRow] = world.told(AuditRow, key_id)
        return ("Somebody (PSTRANGE)", "acknowledge", "refused") in [
            (row.actor, row.action, row.result) for row in rows
        ]

    await until(known, "the worker knows the incident")
    await until(audited, "the stranger's word is in the audit")
    return found.incident_id


def state_of(world: World, key_id: str) -> str:
    found = world.incident(key_id)
    return found.state if found else "none"


async def requests(world: World, key_id: str) -> list[Request]:
    topics = world.worker.install.topics
    name = topics.name(Topic.REQUESTS)
    found = [await read_all(world.worker.bootstrap, name, number) for number in range(topics.partitions)]
    said = [Request.from_bytes(value or b"") for records in found for _, value in records]
    return [each for each in said if each.key_id == key_id]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tansu_broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """One worker for all tests but the last."""
    directory, prefix = tmp_path_factory.mktemp("install"), f"t{secrets.token_hex(4)}."
    async with running(tansu_broker, prefix, directory, **PARTS) as one:
        yield one


async def test_who_acknowledges_there_acknowledges_here(world: World) -> None:
    one = await opened(world, WATCHED)
    trigger = next(each.json for each in world.board.pagerduty.arrived if each.json["dedup_key"] == one)
    assert trigger["payload"]["summary"].endswith(f" [{one}]")
    answer = await post(world, by_rosa(one))
    assert (answer.status_code, answer.json()["detail"]) == (202, "Taken: acknowledge, by rosa. The incident was open.")

    def acknowledged() -> bool:
        found = world.incident(WATCHED)
        return found is not None and (found.state, found.by) == ("acknowledged", "rosa")

    await until(acknowledged, "the incident is acknowledged by rosa")
    await until(lambda: world.board.pages(one)[-1] == "acknowledge", "PagerDuty hears what it knows")

    async def stored() -> bool:
        store = world.worker.store
        assert store is not None
        found = store().incident(one)
        return found is not None and found.by == "rosa"

    await until(stored, "the store knows")
    assert (await post(world, by_rosa(one))).json()["detail"] == "taken before"

    assert (await post(world, by_rosa(one, "incident.resolved", event_id="01OTHER"))).status_code == 202
    await until(lambda: state_of(world, WATCHED) == "resolved", "the incident is resolved")
    await until(lambda: world.board.pages(one)[-1] == "resolve", "so is PagerDuty's")
    assert [(each.by, each.via, each.action) for each in await requests(world, WATCHED)] == [
        ("rosa", "pagerduty", "acknowledge"), ("rosa", "pagerduty", "resolve"),
    ]  # fmt: skip

    def audited() -> list[tuple[str, str, str]]:
        rows = [row for row in world.told(AuditRow, WATCHED) if row.actor == "rosa"]
        return [(row.detail["via"], row.action, row.result) for row in rows]

    expected = [("pagerduty", "acknowledge", "taken"), ("pagerduty", "resolve", "taken")]
    await until(lambda: audited() == expected, lambda: f"both are in the audit; there is {audited()}")
    metrics = (await world.http.get("/metrics")).text
    assert 'keyfuse_answers_total{result="taken",via="pagerduty"} 2.0' in metrics


async def test_what_cannot_be_proved_changes_nothing(world: World) -> None:
    body = by_rosa(await opened(world, UNPROVED, T0_MS + 60_000))
    answers = [await post(world, body, given) for given in ("", "v1=0", sign(body, "another"), sign(body + b" "))]
    answers.append(await post(world, body + b" ", sign(body)))
    assert {answer.status_code for answer in answers} == {401}
    assert (await post(world, b"x" * 300_000)).status_code == 413
    assert await requests(world, UNPROVED) == []
    assert state_of(world, UNPROVED) == "open"


async def test_an_incident_older_than_what_the_worker_remembers_is_looked_up_in_the_store(world: World) -> None:
    store = world.worker.store
    assert store is not None
    old = incident(incident_id="inc_of_last_year", key_id="key_old")
    table, row = record_row(old)
    store().insert_records(table, [row])
    assert (await post(world, by_rosa(old.incident_id, event_id="01OLD"))).json()["detail"].startswith("Taken")
    assert [each.incident_id for each in await requests(world, old.key_id)] == [old.incident_id]
    unknown = await post(world, by_rosa("inc_nobody", event_id="01NOBODY"))
    assert (unknown.status_code, "No incident inc_nobody" in unknown.json()["detail"]) == (503, True)


async def test_while_the_broker_hangs_pagerduty_is_asked_to_call_again(prefix: str, tmp_path: Path) -> None:
    async with Tansu(log_path=tmp_path / "tansu.log") as tansu:
        hangs = PausedBroker(tansu)
        async with running(hangs.broker, prefix, tmp_path, **PARTS) as world:
            body = by_rosa(await opened(world, WATCHED))
            async with hangs.paused():
                began_s = time.monotonic()
                assert (await post(world, body)).status_code == 503
                assert time.monotonic() - began_s < 5  # as long as PagerDuty waits
            assert (await post(world, body)).status_code == 202
            await until(lambda: state_of(world, WATCHED) == "acknowledged", "it is acknowledged")
