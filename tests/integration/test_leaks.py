"""A key that somebody has found: from the report over HTTP to the incident, and with odd use to the cut."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from containment.sandbox_server import NewKey
from schemas.config.keys import CensusConfig
from schemas.config.responses import LadderConfig
from schemas.config.wiring import LeaksConfig
from schemas.records import AuditRow, Command, Finding, KeyFacts, stable_id
from service.config_tree import Folder
from streams.outbox import Outbox
from streams.topics import Topic
from tests.brokers import Broker
from tests.integration.uses import T0_MS, uses
from tests.integration.world import World, running, until
from tests.sources.test_github_keys import Signer

REGISTERED, SECRET, URL = "key_registered", "Acme-Odd-Key-000000001", "https://github.com/a/b/blob/1/f.txt"


@pytest.fixture
async def world(tansu_broker: Broker, prefix: str, tmp_path: Path) -> AsyncIterator[World]:
    """Mode auto; a verified leak is no certain limit, as it is without a word of anybody."""
    async with running(tansu_broker, prefix, tmp_path, keys=(REGISTERED,), change=without_census) as one:
        yield one


def without_census(folder: Folder) -> Folder:
    """The key in use is one that nobody registered: here its leak alone is to be told."""
    quiet = folder.keys.model_copy(update={"census": CensusConfig(unknown_keys=False)})
    return replace(folder, keys=quiet)


def fingerprint(world: World) -> str:
    return world.worker.install.fingerprinter().of(SECRET)


def state(world: World, key_id: str) -> str:
    incident = world.incident(key_id)
    return incident.state if incident else ""


async def leak(world: World, **report: Any) -> dict[str, Any]:
    answer = await world.http.post("/v1/leaks", content=orjson.dumps({"source": "scanner", "url": URL} | report))
    assert answer.status_code == 202, answer.text
    [one] = answer.json()["reports"]
    return dict(one)


async def test_a_leak_of_a_key_in_use_opens_an_incident_and_with_odd_use_the_key_is_cut(world: World) -> None:
    key_id = fingerprint(world)
    await world.produce(*uses(key_id, T0_MS, count=20), key=key_id)
    await until(lambda: _archived(world, key_id, 20), "its use is in the archive")
    assert await leak(world, key=SECRET) == {"index": 0, "key_id": key_id, "known": "in_use"}
    await until(lambda: state(world, key_id) == "open", "the incident is open")
    incident = world.incident(key_id)
    assert incident is not None
    assert (incident.severity, incident.families, incident.facts.team) == ("critical", ("leak",), "search")
    await until(lambda: world.board.slack_posts(incident.incident_id), "Slack shows it")
    assert URL in str(world.board.slack_posts(incident.incident_id))
    assert world.told(Command, key_id) == [], "a report alone is no reason for a cut"

    await leak(world, key=SECRET)
    await leak(world, key=SECRET, url="https://paste.example/1")
    world.sandbox.register(NewKey(key_id=key_id))
    await found_odd(world, key_id)
    await until(lambda: world.ended(key_id, "confirmed"), "the disable is confirmed")
    await until(lambda: state(world, key_id) == "contained", "the incident is contained")
    assert world.sandbox.admit(key_id) == 401
    (command,) = world.told(Command, key_id)
    assert (command.step, command.automatic, command.reversible) == ("disable", True, True)
    assert f"the key was found in scanner at {URL}, and in 1 more place" in command.reason
    rows = [row for row in world.told(AuditRow, key_id) if row.action == "leak"]
    assert [row.result for row in rows] == ["in_use"] * 3
    assert len({row.audit_id for row in rows}) == 2, "the same report again is the same row"


async def test_an_unknown_key_is_noted_and_a_registered_one_is_paged(world: World) -> None:
    assert (await leak(world, key="Nobodys-Key-0000000000"))["known"] == "unknown"
    assert (await leak(world, key_id=REGISTERED))["known"] == "registered"
    await until(lambda: state(world, REGISTERED) == "open", "the incident of the registered key")
    incident = world.incident(REGISTERED)
    assert incident is not None
    await until(lambda: world.board.pages(incident.incident_id), "people are paged")
    noted = [row for row in world.watch.told if isinstance(row, AuditRow) and row.result == "unknown"]
    assert len(noted) == 1
    assert world.told(Finding, noted[0].key_id) == []
    shown = (await world.http.get("/metrics")).text
    for result in ("unknown", "registered"):
        assert f'keyfuse_leak_reports_total{{result="{result}",via="api"}} 1.0' in shown


async def test_github_signs_and_where_that_is_set_its_word_alone_cuts(
    tansu_broker: Broker, prefix: str, tmp_path: Path
) -> None:
    github, file = Signer(), tmp_path / "github-keys.json"
    file.write_bytes(orjson.dumps({"public_keys": [github.listed]}))
    leaks = LeaksConfig(github=True, github_keys_file=str(file))
    certain = LadderConfig(leak_is_certain=True)
    async with running(tansu_broker, prefix, tmp_path, keys=(REGISTERED,), leaks=leaks, ladder=certain) as world:
        await leak(world, key_id=REGISTERED)
        await until(lambda: state(world, REGISTERED) == "open", "the incident is open")
        # Its secret is not known to this install: the name stands for it.
        key_id = fingerprint(world)
        await world.produce(*uses(key_id, T0_MS, count=4), key=key_id)
        await until(lambda: _archived(world, key_id, 4), "its use is in the archive")
        world.sandbox.register(NewKey(key_id=key_id))
        body = orjson.dumps([{"token": SECRET, "type": "acme_key", "url": URL, "source": "commit"}])
        unsigned = await world.http.post("/v1/leaks/github", content=body)
        headers = {"Github-Public-Key-Identifier": "ours", "Github-Public-Key-Signature": github.sign(body)}
        answer = await world.http.post("/v1/leaks/github", content=body, headers=headers)
        assert unsigned.status_code == 401
        assert (answer.status_code, [one["label"] for one in answer.json()]) == (200, ["true_positive"])
        await until(lambda: state(world, key_id) == "contained", "GitHub's word alone cuts")
        assert world.sandbox.admit(key_id) == 401
        assert world.told(Command, REGISTERED) == [], "the word of whoever has the token does not"


async def found_odd(world: World, key_id: str) -> None:
    """What the score stage says of a burst. It learns for days before it is so sure, so the test speaks for it."""
    finding = Finding(
        finding_id=stable_id("fnd", key_id, "velocity"), at_ms=T0_MS + 20_000, key_id=key_id, family="velocity",
        detector="usd_1m", severity="critical", score=8.0, certain=False, reason="spends ten times its usual",
        evidence={}, usd_per_min=0.02, expected_usd_per_min=0.01,
        facts=KeyFacts(provider="sandbox", team="search", app="ranker", env="prod"),
    )  # fmt: skip
    await Outbox(world.sender, world.worker.install.topics).send(Topic.FINDINGS, [(key_id, finding)])


async def _archived(world: World, key_id: str, count: int) -> bool:
    return await world.archived(key_id) == count
