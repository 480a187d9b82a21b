"""A worker that is killed again and again ends where an undisturbed one ends: to the event and to the finding."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import SecretStr

from containment.sandbox_server import NewKey, Sandbox, create_sandbox
from service.local_server import LocalServer
from storage.client import open_store
from storage.migrate import migrate
from storage.testing import engine_path, fresh_dsn
from tests.brokers import Broker
from tests.integration.lives import Ending, Kill, Life
from tests.integration.servers import Board, board
from tests.integration.spend import budgets_of
from tests.integration.stream import END_S, KEYS, STOLEN, Stream, made_up_stream
from tests.integration.uses import T0_MS, windows_of
from tests.integration.world import ENVIRON, install
from tests.storage.clickhouse_http import ClickHouseHttp

SEED = 20260105
PARTITIONS = 2
REGISTERED = KEYS[:35]
"""The census tells of the others, each once, of its first use."""
# Seconds of event time. The second kill comes as soon as the new process has scored anything at all, within its first
# checkpoint; the last one in the middle of both thefts.
KILLS_S = ((90, 150), (0, 0), (250, 400), (540, 570))


@pytest.fixture(scope="module")
def stream() -> Stream:
    return made_up_stream(SEED, partitions=PARTITIONS)


@pytest.fixture
def front() -> Iterator[ClickHouseHttp]:
    """A store that outlives the workers, as a server does."""
    with ClickHouseHttp(str(engine_path())) as running:
        yield running


@asynccontextmanager
async def life(
    broker: Broker, prefix: str, front: ClickHouseHttp, directory: Path
) -> AsyncIterator[tuple[Life, Sandbox, Board]]:
    """A worker program with a provider, channels and a database of its own."""
    app = create_sandbox(SecretStr(ENVIRON["SANDBOX_ADMIN"]))
    for key_id in KEYS:
        app.state.sandbox.register(NewKey(key_id=key_id))
    provider = LocalServer(app)
    url = await provider.start()
    dsn = f"clickhouse://keyfuse@127.0.0.1:{front.port}/{fresh_dsn().partition('=')[2]}"
    store = open_store(dsn)
    migrate(store, retention_days=36_500)
    async with board() as services:
        one = install(
            broker, prefix, directory, services=services, sandbox_url=url, keys=REGISTERED, dsn=dsn,
            # While the ingest is down no frames come. The clock must not take that for silence, or two runs could not
            # be compared to the second.
            idle_s=3600,
            change=lambda folder: replace(folder, budgets=budgets_of(KEYS)),
        )  # fmt: skip
        yield Life(one, store, directory), app.state.sandbox, services
    store.close()
    await provider.stop()


def new(directory: Path) -> Path:
    directory.mkdir()
    return directory


def chosen(places: Sequence[tuple[int, int]], seed: int) -> list[Kill]:
    rng = random.Random(seed)
    return [Kill(rng.uniform(*place)) for place in places]


async def test_kills_leave_no_trace_in_windows_findings_incidents_archive_and_rollups(
    broker: Broker, prefix: str, front: ClickHouseHttp, stream: Stream, tmp_path: Path
) -> None:
    async with (
        life(broker, f"{prefix}calm.", front, new(tmp_path / "calm")) as (calm, calm_sandbox, _),
        life(broker, f"{prefix}kill.", front, new(tmp_path / "kill")) as (killed, killed_sandbox, services),
    ):
        undisturbed, disturbed = await asyncio.gather(calm.live(stream, ()), killed.live(stream, chosen(KILLS_S, SEED)))
    assert (undisturbed.processes, disturbed.processes) == (1, 1 + len(KILLS_S))
    assert disturbed.scored > stream.rows, "the kills made nothing come again: they came at the wrong time"

    assert_archive_holds(stream, undisturbed)
    assert_archive_holds(stream, disturbed)
    assert disturbed.archive == undisturbed.archive
    assert disturbed.minutes == undisturbed.minutes
    for ending in (undisturbed, disturbed):  # to the token and the nano-dollar
        assert ending.spend == {row[0]: (row[3] + row[4], row[5]) for row in ending.archive}
    assert disturbed.findings == undisturbed.findings
    assert disturbed.incidents == undisturbed.incidents
    unknown = {key for key, *_ in disturbed.incidents.values()} - set(REGISTERED)
    assert unknown == set(KEYS) - set(REGISTERED)
    assert {key for key, state, _ in disturbed.incidents.values() if state == "contained"} == set(STOLEN)

    clock_s = T0_MS // 1000 + END_S
    for key_id in KEYS:
        expected = pytest.approx(windows_of(stream.of(key_id), clock_s))
        assert undisturbed.windows(key_id, clock_s) == expected
        assert disturbed.windows(key_id, clock_s) == expected

    for sandbox in (calm_sandbox, killed_sandbox):
        assert {key for key in KEYS if sandbox.admit(key) == 401} == set(STOLEN)
    for incident_id in disturbed.incidents:
        assert services.hooks(incident_id), f"nobody was told of {incident_id}"


def assert_archive_holds(stream: Stream, ending: Ending) -> None:
    count = sum(row[1] for row in ending.archive)
    assert (count, sum(row[2] for row in ending.archive)) == (len(stream.events), len(stream.events))
    assert sum(row[5] for row in ending.archive) / 1e9 == pytest.approx(stream.usd)
    assert ending.difference == 0
    assert ending.dead == stream.bad
