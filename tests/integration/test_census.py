"""The census in a real worker: what it finds is told once, orders nothing, and ends when the key is registered."""

from __future__ import annotations

from pathlib import Path

from schemas.config.keys import KeyConfig
from schemas.records import Command, Finding, Incident
from streams.outbox import Outbox
from streams.topics import Topic
from tests.brokers import Broker
from tests.integration.uses import T0_MS, uses
from tests.integration.world import OWNED, World, running, until

ROLES = ("ingest", "budget", "decide", "notify", "contain")
KNOWN, STRANGER = "key_registered", "key_of_nobody"


async def register(world: World, key_id: str) -> None:
    """As the identity stage tells of a key that was made."""
    record = KeyConfig(key_id=key_id, provider="sandbox", **OWNED).record().model_copy(update={"seq": 1})
    await Outbox(world.sender, world.worker.install.topics).send(Topic.KEYS, [(key_id, record)])


def over(world: World, key_id: str) -> bool:
    incident = world.incident(key_id)
    return incident is not None and incident.state == "resolved"


async def test_an_unknown_key_is_told_once_and_is_over_when_it_is_registered(
    tansu_broker: Broker, prefix: str, tmp_path: Path
) -> None:
    async with running(tansu_broker, prefix, tmp_path, roles=ROLES, keys=(KNOWN,)) as world:
        await world.produce(*uses(STRANGER, T0_MS, count=5), *uses(KNOWN, T0_MS, count=5))
        await until(lambda: world.incident(STRANGER), "there is an incident")
        incident = world.incident(STRANGER)
        assert incident is not None
        assert (incident.state, incident.families, incident.facts.app) == ("open", ("identity",), OWNED["app"])
        assert "it is in use and not registered" in incident.headline
        await until(lambda: world.board.slack_posts(incident.incident_id), "Slack shows it")

    async with running(tansu_broker, prefix, tmp_path, roles=ROLES, keys=(KNOWN,)) as world:  # after a restart
        await world.produce(*uses(STRANGER, T0_MS + 60_000, count=5))
        # Two environments of a known one: when that is told, the rows before it have been looked at.
        for number, env in enumerate(("prod", "staging")):
            await world.produce(*uses(KNOWN, T0_MS + 90_000 + number, count=12, env=env))
        await until(lambda: world.incident(KNOWN), "there is an incident of the known key")
        both = world.incident(KNOWN)
        assert both is not None
        assert "one key serves prod and staging" in both.headline
        said = {finding.finding_id for finding in world.told(Finding, STRANGER)}
        assert len(said) == 1, "what is said again is the same"
        assert world.told(Incident, STRANGER) == [incident], "and nobody hears of it again"

        await register(world, STRANGER)
        await register(world, KNOWN)
        await until(lambda: over(world, STRANGER), "it is over")
        last = world.incident(STRANGER)
        assert last is not None
        assert (last.incident_id, last.by) == (incident.incident_id, "keyfuse")
        assert last.transition == "Resolved: the key is registered now."
        assert not over(world, KNOWN), "a registration does not answer for a second environment"
        assert world.told(Command, STRANGER) == world.told(Command, KNOWN) == []
