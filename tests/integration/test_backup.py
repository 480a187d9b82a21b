"""A theft through the whole worker: the backup is live and users are told before the cut; a restore undoes it all."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from schemas.config.keys import KeyConfig, KeysConfig, PlaceConfig
from schemas.config.wiring import SwitchConfig
from schemas.records import Incident, Outcome, Request
from schemas.verdict import GateVerdict
from service.config_tree import Folder
from streams.follow import follow
from streams.topics import Topic
from tests.alerting.kinds import NETWORKED
from tests.brokers import Broker
from tests.containment.servers import switchboard, vault_kv
from tests.containment.servers.serve import Faulty, serving
from tests.integration.uses import T0_MS, theft
from tests.integration.world import ENVIRON, OWNED, World, running, until
from tests.scenarios.test_secrets_nowhere import spelled_out

KEY, SPARE = "key_in_use", "key_in_reserve"
OLD, NEW = "sk-proj-canary-of-the-key-0123456789", "plain-canary-of-the-backup"


@contextlib.asynccontextmanager
async def verdicts(world: World) -> AsyncIterator[list[GateVerdict]]:
    """What a gate would read."""
    topics, seen, over = world.worker.install.topics, list[GateVerdict](), asyncio.Event()

    def take(key: bytes | None, value: bytes | None) -> bool:
        verdict = GateVerdict.from_bytes(value or b"")
        assert key == verdict.key_id.encode()
        seen.append(verdict)
        return True

    name, count = topics.name(Topic.VERDICTS), topics.count(Topic.VERDICTS)
    reading = asyncio.create_task(
        follow(world.worker.bootstrap, name, count, take=take, changed=lambda: None, stopping=over.is_set)
    )
    yield seen
    over.set()
    await reading


async def test_a_theft_is_cut_only_after_its_users_are_on_the_backup(
    tansu_broker: Broker, prefix: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    store = vault_kv.Store({"shop/openai": [{"key": OLD, "db": "x"}], "shop/spare": [{"key": NEW}]})
    board = switchboard.Switchboard({KEY: KEY})
    vault_app = Faulty(vault_kv.create(ENVIRON["SANDBOX_ADMIN"], store))
    deploys_app = switchboard.ByAction(switchboard.create(NETWORKED["webhook"].secret, board))
    async with serving(vault_app) as vault_url, serving(deploys_app) as deploys_url:

        def with_backup(folder: Folder) -> Folder:
            switches = {
                "vault": SwitchConfig(kind="vault", base_url=vault_url, secret_env="SANDBOX_ADMIN"),
                "deploys": SwitchConfig(kind="webhook", base_url=f"{deploys_url}/use", secret_env="WEBHOOK_SECRET"),
            }
            places = (PlaceConfig(at="vault", secret="shop/openai", standby="shop/spare"), PlaceConfig(at="deploys"))
            key = KeyConfig(key_id=KEY, provider="sandbox", backup=SPARE, switch=places, **OWNED)
            keys = KeysConfig(keys=(key, KeyConfig(key_id=SPARE, provider="sandbox", **OWNED)))
            return replace(folder, keys=keys, wiring=folder.wiring.model_copy(update={"switches": switches}))

        async with running(tansu_broker, prefix, tmp_path, change=with_backup) as world, verdicts(world) as seen:
            world.sandbox.change(SPARE, status="disabled")
            await world.produce(*theft(KEY, T0_MS))
            await until(lambda: world.ended(KEY, "confirmed"), lambda: f"the cut; told: {world.told(Outcome, KEY)}")
            assert (world.sandbox.admit(KEY), world.sandbox.admit(SPARE)) == (401, 200)
            assert (store.now("shop/openai"), board.using) == ({"key": NEW, "db": "x"}, {KEY: SPARE})
            ends = [(outcome.step, outcome.state.value) for outcome in world.told(Outcome, KEY)]
            assert ends == [("switch", "confirmed"), ("disable", "confirmed")]
            await until(
                lambda: seen and (seen[-1].state, seen[-1].use_instead) == ("deny", SPARE), "the gates' verdict"
            )

            await until(lambda: _contained(world.incident(KEY)), "the incident shows it")
            incident = world.incident(KEY)
            assert incident is not None
            told = [version.transition for version in world.told(Incident, KEY)]
            assert any("Switch to the backup confirmed: effective after" in words for words in told)
            assert f"its users were switched to the backup {SPARE} before" in told[-1]

            await world.ask(
                Request(request_id="r1", at_ms=T0_MS + 60_000, by="ana", action="false_positive", key_id=KEY)
            )
            await until(lambda: world.ended(KEY, "confirmed", "restore"), "the restore")
            assert (world.sandbox.admit(KEY), world.sandbox.admit(SPARE)) == (200, 401)
            assert (store.now("shop/openai"), board.using) == ({"key": OLD, "db": "x"}, {KEY: KEY})
            await until(lambda: seen[-1].state == "allow", "the gates let it pass again")
            found = [
                await spelled_out(world.worker.bootstrap, spec.name, spec.partitions)
                for spec in world.worker.install.topics.specs()
            ]
            assert sum(text.count("shop/openai") for text in found) > 5, "the switch was written about"
            captured = capfd.readouterr()
            for value in (OLD, NEW, ENVIRON["SANDBOX_ADMIN"], NETWORKED["webhook"].secret):
                assert not any(value in text for text in (*found, captured.out, captured.err))


async def test_nobody_is_sent_to_a_backup_that_is_being_stolen_itself(
    tansu_broker: Broker, prefix: str, tmp_path: Path
) -> None:
    def with_backup(folder: Folder) -> Folder:
        keys = (KeyConfig(key_id=KEY, provider="sandbox", backup=SPARE, **OWNED),)
        return replace(folder, keys=KeysConfig(keys=(*keys, KeyConfig(key_id=SPARE, provider="sandbox", **OWNED))))

    modes: dict[str, Any] = {"key_modes": {SPARE: "observe"}, "backup": {"if_switch_fails": "wait"}}
    async with running(tansu_broker, prefix, tmp_path, change=with_backup, **modes) as world:
        await world.produce(*theft(SPARE, T0_MS))
        await until(lambda: world.ended(SPARE, "dry_run"), "the backup's own incident")
        await world.produce(*theft(KEY, T0_MS + 5000))
        await until(lambda: world.ended(KEY, "refused"), lambda: f"the refusal; told: {world.told(Outcome, KEY)}")
        assert world.sandbox.admit(KEY) == 200
        told = [outcome.detail for outcome in world.told(Outcome, KEY) if outcome.step == "switch"]
        assert f"the backup {SPARE} has an open incident itself" in told[0]
        await until(lambda: any("act now" in v.transition for v in world.told(Incident, KEY)), "people are paged")


def _contained(incident: Incident | None) -> bool:
    return incident is not None and incident.state == "contained"
