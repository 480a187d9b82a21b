"""Live and replay say the same of real traffic: same findings, same incidents, same commands.

22 ServeGen clients over three days (one request in 4^n each, about 700 left per key), Azure's and Mooncake's hours
whole, and one theft of each shape on the third day.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson
import pytest

from schemas.config import ResponsesConfig, WiringConfig
from schemas.config.detectors import DetectorsConfig, TimeConfig
from schemas.config.wiring import KafkaConfig, ProviderConfig, StoreConfig
from schemas.records import Command, Finding, Incident, rfc3339
from service.config_folder import Folder
from service.install import Install
from service.replay import Replay, read_events
from service.worker import Worker
from sources.simulator.shapes import SHAPES
from sources.simulator.thefts import Theft
from streams.topics import Topic
from tests.brokers import Broker
from tests.real_input.live import feed, read_topic, until_decided, until_scored
from tests.real_input.story import (
    DAY_MS,
    HOUR_MS,
    Client,
    Story,
    client_events,
    clients_of,
    in_order,
    one_hour_traces,
    requests_by_client,
    story,
)
from tests.traces import START_MS, needs

pytestmark = [needs("servegen"), needs("azure-llm"), needs("mooncake")]
DAYS: Final = (0, 3)
CLIENTS: Final = 22
PER_KEY: Final = 700
USD_PER_MIN: Final = 2.0  # a tenth of the published thefts: so many requests fit into the test
OWN_MANNER: Final = frozenset({"low_and_slow", "model_swap", "context_stuffing"})
ROLES: Final = ("ingest", "score", "decide", "contain")
KEYFUSE: Final = (
    "keyfuse"  # pages about itself: the caps count orders by the wall clock, and three days pass in a minute
)
NEVER_S: Final = 10**9  # the traces' dates are of our choosing: no event is from the future


@dataclass
class Told:
    """What came out, in the form in which replay and live can be compared."""

    findings: dict[str, list[Any]] = field(default_factory=dict)  # by key, in order
    incidents: dict[str, dict[str, Any]] = field(default_factory=dict)
    commands: dict[str, list[Any]] = field(default_factory=dict)


@pytest.fixture(scope="module")
def traffic() -> Story:
    requests = {name: count for name, count in requests_by_client(DAYS).items() if count >= 500}
    chosen = list(requests)[:: len(requests) // CLIENTS][:CLIENTS]
    clients = clients_of({name: requests[name] for name in chosen}, days=DAYS, per_key=PER_KEY)
    owners = in_order(client_events(clients, days=DAYS) + one_hour_traces())
    return story(owners, thefts(clients))


def thefts(clients: list[Client]) -> list[Theft]:
    """One of each shape on the third day, an hour apart; the patient one takes the whole day."""
    planted, free = [], [client.key for client in clients]
    for place, name in enumerate(SHAPES):
        taken = tuple(free.pop() for _ in range(3 if SHAPES[name].least_keys > 1 else 1))
        start_ms = START_MS + 2 * DAY_MS + (place + 1) * 2 * HOUR_MS
        if name in OWN_MANNER:  # measured by the key's own use, all day
            day_ms = START_MS + 2 * DAY_MS
            planted.append(Theft(name, taken, day_ms, 20 * 3600.0, times_normal=5.0, seed=place))
        else:
            planted.append(Theft(name, taken, start_ms, 600.0, usd_per_min=USD_PER_MIN, seed=place))
    return planted


def an_install(directory: Path, prefix: str) -> Install:
    providers = {
        name: ProviderConfig(kind="sandbox", base_url="http://127.0.0.1:9", secret_env="ADMIN")
        for name in ("openai", "anthropic", "google")
    }
    wiring = WiringConfig(
        data_dir=str(directory), kafka=KafkaConfig(topic_prefix=prefix),
        store=StoreConfig(dsn=f"chdb://{directory / 'store'}"), providers=providers,
    )  # fmt: skip
    folder = Folder(
        wiring=wiring,
        detectors=DetectorsConfig(time=TimeConfig(max_future_s=NEVER_S)),
        responses=ResponsesConfig(freeze_file=str(directory / "FREEZE")),
    )
    return Install(folder, directory, {"KEYFUSE_PEPPER": "pepper", "ADMIN": "admin"})


def replayed(install: Install, values: list[bytes]) -> Told:
    table, dead = read_events(values, install.parser(max_future_s=None))
    assert dead == []
    result = Replay(install.folder, offered=install.offered()).run(table)
    told = Told()
    for line in map(orjson.loads, result.lines):
        kind, key_id = line.pop("type"), line["key_id"]
        if kind == "finding":
            told.findings.setdefault(key_id, []).append(line)
        elif kind == "command":
            told.commands.setdefault(key_id, []).append(line)
        else:
            note(told, line["incident_id"], at=line["at"], families=line["families"])
    return told


async def lived(install: Install, bootstrap: str, values: list[bytes]) -> Told:
    worker = Worker(install, bootstrap, ROLES)
    await worker.start()
    try:
        await feed(bootstrap, install.topics.name(Topic.RAW), values)
        await until_scored(worker, len(values))
        await until_decided(bootstrap, install.topics)
        return await heard(install, bootstrap)
    finally:
        await worker.stop()


async def heard(install: Install, bootstrap: str) -> Told:
    told = Told()
    for value in await read_topic(bootstrap, install.topics, Topic.FINDINGS):
        finding = Finding.from_bytes(value)
        told.findings.setdefault(finding.key_id, []).append(
            {"at": rfc3339(finding.at_ms)}
            | finding.model_dump(include={"key_id", "family", "severity", "score", "reason", "evidence"})
        )
    for value in await read_topic(bootstrap, install.topics, Topic.INCIDENTS):
        incident = Incident.from_bytes(value)
        if incident.key_id != KEYFUSE:
            note(told, incident.incident_id, at=rfc3339(incident.updated_at_ms), families=list(incident.families))
    for value in await read_topic(bootstrap, install.topics, Topic.COMMANDS):
        command = Command.from_bytes(value)
        told.commands.setdefault(command.key_id, []).append(
            {"at": rfc3339(command.at_ms)}
            | command.model_dump(include={"incident_id", "key_id", "step", "automatic", "reversible"})
        )
    return told


def note(told: Told, incident_id: str, *, at: str, families: list[str]) -> None:
    """The first version's time and families, the last version's families."""
    told.incidents.setdefault(incident_id, {"opened": at, "opened_by": families})["families"] = families


@pytest.fixture(scope="module")
def values(traffic: Story) -> list[bytes]:
    return [orjson.dumps(event) for event in traffic.events]


@pytest.fixture(scope="module")
def expected(values: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> Told:
    return replayed(an_install(tmp_path_factory.mktemp("replay"), ""), values)


async def test_live_and_replay_say_the_same_of_real_traffic(
    kafka_broker: Broker, prefix: str, values: list[bytes], expected: Told, tmp_path: Path
) -> None:
    found = await lived(an_install(tmp_path, prefix), kafka_broker.bootstrap, values)
    assert len(values) > 55_000
    assert len(expected.findings) >= len(SHAPES)
    assert found.findings == expected.findings
    assert found.incidents == expected.incidents
    assert found.commands == expected.commands
