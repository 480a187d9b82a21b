"""What stands outside fails: the rest goes on, and what was held back comes when it is over, once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from fastapi import Request, Response
from pydantic import SecretStr

from containment.sandbox_server import NewKey, Sandbox, create_sandbox
from schemas.records import Incident, StepState
from service.local_server import LocalServer
from storage.testing import engine_path, fresh_dsn
from tests.alerting.servers import Answer
from tests.brokers import Broker
from tests.integration.servers import Gate
from tests.integration.uses import T0_MS, theft, use, uses
from tests.integration.world import ENVIRON, World, running, until
from tests.storage.clickhouse_http import ClickHouseHttp

STOLEN = "key_stolen"


async def steal(world: World, start_ms: int = T0_MS) -> None:
    closing = use(f"closes {start_ms}", STOLEN, start_ms + 9000)
    await world.produce(*theft(STOLEN, start_ms), closing, key=STOLEN)


def state_of(world: World) -> str:
    incident = world.incident(STOLEN)
    return incident.state if incident else ""


async def until_shown(world: World, incident: Incident) -> None:
    """Every channel shows this version."""
    one, services = incident.incident_id, world.board
    await until(lambda: services.slack_shows(one) >= incident.seq, "Slack shows it")
    await until(lambda: any(hook["seq"] >= incident.seq for hook in services.hooks(one)), "the webhook has it")
    await until(lambda: "trigger" in services.pages(one), "PagerDuty has it")


async def test_while_slack_fails_the_others_are_told_and_slack_gets_one_message(
    broker: Broker, prefix: str, tmp_path: Path
) -> None:
    outage = [Answer(500), Answer(429, headers={"Retry-After": "1"}), Answer(200, "<html>a proxy</html>"), Answer(503)]
    async with running(broker, prefix, tmp_path, keys=[STOLEN]) as world:
        world.board.slack.answers = list(outage)
        await steal(world)
        await until(lambda: state_of(world) == "contained", "the key is cut")
        incident = world.incident(STOLEN)
        assert incident is not None
        await until_shown(world, incident)
        assert world.board.slack.answers == []
        # The first posts got those answers; one more was the message that people see.
        assert len(world.board.slack_posts(incident.incident_id)) == len(outage) + 1


async def test_slack_that_refuses_connections_is_told_once_when_it_is_back(
    broker: Broker, prefix: str, tmp_path: Path
) -> None:
    async with running(broker, prefix, tmp_path, keys=[STOLEN], gated=["slack"]) as world:
        gate = world.gates["slack"]
        await gate.shut()
        await steal(world)
        await until(lambda: state_of(world) == "contained", "the key is cut")
        incident = world.incident(STOLEN)
        assert incident is not None
        one, services = incident.incident_id, world.board
        await until(lambda: services.hooks(one)[-1:] and services.hooks(one)[-1]["seq"] >= incident.seq, "the webhook")
        await until(lambda: services.pages(one)[:1] == ["trigger"], "PagerDuty pages")
        assert services.slack.arrived == []

        await gate.open()
        await until_shown(world, incident)
        assert len(services.slack_posts(one)) == 1


@dataclass
class Provider:
    """A sandbox whose admin API can be made to fail."""

    url: str
    sandbox: Sandbox
    failing: bool = False
    calls_while_failing: int = 0


@asynccontextmanager
async def moody_provider() -> AsyncIterator[Provider]:
    app = create_sandbox(SecretStr(ENVIRON["SANDBOX_ADMIN"]))
    provider = Provider("", app.state.sandbox)
    provider.sandbox.register(NewKey(key_id=STOLEN))

    async def fail(request: Request, go_on: Callable[[Request], Awaitable[Response]]) -> Response:
        if provider.failing:
            provider.calls_while_failing += 1
            return Response(status_code=500)
        return await go_on(request)

    app.middleware("http")(fail)
    server = LocalServer(app)
    provider.url = await server.start()
    try:
        yield provider
    finally:
        await server.stop()


async def test_a_provider_that_fails_for_a_while_ends_in_a_confirmed_cut(
    broker: Broker, prefix: str, tmp_path: Path
) -> None:
    retry = {"attempts": 12, "wait_initial_s": 0.05, "wait_max_s": 0.1, "timeout_s": 2, "verify_s": 3}
    async with (
        moody_provider() as provider,
        running(broker, prefix, tmp_path, keys=[STOLEN], sandbox_url=provider.url, retry=retry) as world,
    ):
        provider.failing = True
        await steal(world)
        await until(lambda: provider.calls_while_failing >= 3, "Keyfuse tries")
        provider.failing = False
        await until(lambda: world.ended(STOLEN, "confirmed"), "the disable is confirmed")
        assert provider.sandbox.admit(STOLEN) == 401
        await until(lambda: state_of(world) == "contained", "the incident is contained")


async def test_a_provider_that_stays_dead_ends_in_a_page_to_a_person(
    broker: Broker, prefix: str, tmp_path: Path
) -> None:
    async with (
        moody_provider() as provider,
        running(broker, prefix, tmp_path, keys=[STOLEN], sandbox_url=provider.url) as world,
    ):
        provider.failing = True
        await steal(world)
        await until(lambda: world.ended(STOLEN, "irrevocable"), "the command has ended")
        assert provider.sandbox.admit(STOLEN) == 200

        def told() -> bool:
            incident = world.incident(STOLEN)
            return incident is not None and "A person must act now" in incident.transition

        await until(told, "the incident says that a person must act")
        incident = world.incident(STOLEN)
        assert incident is not None
        assert (incident.state, incident.severity) == ("open", "critical")
        assert [step.state for step in incident.steps] == [StepState.IRREVOCABLE]
        pages = world.board.pages
        # Resolved and triggered again: an alert that somebody has acknowledged would wake nobody.
        await until(lambda: pages(incident.incident_id)[-2:] == ["resolve", "trigger"], "PagerDuty pages anew")
        assert await _audited(world) >= 1


async def _audited(world: World) -> int:
    rows = [record for record in world.watch.told if getattr(record, "action", "") == "disable"]
    return sum(getattr(row, "result", "") == "irrevocable" for row in rows)


async def test_while_the_store_is_away_keys_are_cut_and_later_everything_is_archived_once(
    broker: Broker, prefix: str, tmp_path: Path
) -> None:
    database = fresh_dsn().partition("=")[2]
    with ClickHouseHttp(str(engine_path())) as front:
        async with Gate(front.port) as gate:
            dsn = f"clickhouse://keyfuse@127.0.0.1:{gate.port}/{database}"
            async with running(broker, prefix, tmp_path, keys=[STOLEN], dsn=dsn) as world:
                before = uses("key_early", T0_MS, count=10)
                await world.produce(*before)
                await until_archived(world, len(before))

                await gate.shut()
                during = uses("key_late", T0_MS + 10_000, count=10)
                await world.produce(*during)
                await steal(world, T0_MS + 10_000)
                await until(lambda: state_of(world) == "contained", "the key is cut while the store is away")
                incident = world.incident(STOLEN)
                assert incident is not None
                await until_shown(world, incident)

                await gate.open()
                await until_archived(world, len(before) + len(during) + 13)
                store = world.worker.store
                assert store is not None
                assert (await asyncio.to_thread(store().rollup_vs_raw)).difference == 0

                async def told() -> bool:
                    history = await asyncio.to_thread(store().incident_history, incident.incident_id)
                    return [version.seq for version in history][-1:] == [incident.seq]

                await until(told, "the incident's versions in the store")


async def test_a_worker_starts_while_the_store_is_away_and_archives_when_it_comes(
    broker: Broker, prefix: str, tmp_path: Path
) -> None:
    database = fresh_dsn().partition("=")[2]
    with ClickHouseHttp(str(engine_path())) as front:
        async with Gate(front.port) as gate:
            await gate.shut()
            dsn = f"clickhouse://keyfuse@127.0.0.1:{gate.port}/{database}"
            async with running(broker, prefix, tmp_path, keys=[STOLEN], dsn=dsn) as world:
                await steal(world)
                await until(lambda: state_of(world) == "contained", "the key is cut without a store")
                asked = await world.stored("/v1/keys")
                assert (asked.status_code, "does not answer" in asked.json()["detail"]) == (503, True)
                waiting = (await world.http.get("/healthz")).json()["stages"]["archive"]["waiting"]
                assert "does not answer" in waiting

                await gate.open()
                await until(lambda: _answers(world), "the store is asked")
                await until_archived(world, 13)


async def _answers(world: World) -> bool:
    return (await world.stored("/v1/keys")).status_code == httpx.codes.OK


async def until_archived(world: World, count: int) -> None:
    async def there() -> bool:
        return await world.archived() == count

    await until(there, f"{count} rows in the archive")
