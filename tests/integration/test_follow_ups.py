"""Follow-ups of incidents outlive the embedded broker: archived as they are said, and told again at the next start."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import yaml
from rich.console import Console

from schemas.config.people import PersonConfig
from schemas.follow_up import FollowUpWord
from service.follow_up_commands import show
from service.install import Install, wall_ms
from service.planes_kept import kept
from service.worker import Worker
from storage.history import follow_ups as stored
from streams.outbox import Outbox
from streams.topics import Topic
from tests.brokers import Broker
from tests.integration.world import World, running, until

INCIDENT, MODELS, QUOTA = "inc_1", "list the models of search", "give the key a quota"
ROLES = ("identity", "archive")


async def test_what_is_to_be_done_is_known_after_a_restart(tansu_broker: Broker, prefix: str, tmp_path: Path) -> None:
    people = {"ann": PersonConfig(role="responder")}
    async with running(tansu_broker, prefix, tmp_path, roles=ROLES, people=people) as world:
        await said(world, MODELS, QUOTA)
        await world.worker.stop()
        await again_at_a_broker_that_forgot(world, tmp_path / "config")


async def said(world: World, *what: str) -> None:
    """Two are added; the first is done, as it then stands in the archive."""
    outbox, store = Outbox(world.sender, world.worker.install.topics), world.worker.store
    assert store is not None
    names = [FollowUpWord.id_of(INCIDENT, each) for each in what]
    words = [
        FollowUpWord(
            follow_up_id=name, action="add", at_ms=wall_ms(), by="ann", incident_id=INCIDENT, key_id="k", words=each,
            owner="bob", due_ms=wall_ms() + 86_400_000,
        )
        for name, each in zip(names, what, strict=True)
    ]  # fmt: skip
    done = FollowUpWord(follow_up_id=names[0], action="done", at_ms=wall_ms(), by="ann", words="merged as #42")
    for word in (*words, done):
        await outbox.send(Topic.KEY_ASKS, [(word.follow_up_id, word)])

    async def archived() -> bool:
        return {one.words: one.state for one in await asyncio.to_thread(stored, store())} == {
            MODELS: "done", QUOTA: "open"
        }  # fmt: skip

    await until(archived, "both are in the store as they stand")
    versions = await world.rows("SELECT seq, state, evidence FROM (SELECT *, JSONExtractString(record, 'evidence')"
                                " AS evidence FROM follow_ups FINAL) WHERE follow_up_id = {id:String} ORDER BY seq",
                                id=names[0])  # fmt: skip
    assert versions == [(1, "open", ""), (2, "done", "merged as #42")]


async def again_at_a_broker_that_forgot(world: World, config: Path) -> None:
    """The embedded one forgets at each restart: here another prefix stands for it."""
    old = world.worker.install
    wiring = old.folder.wiring
    forgot = wiring.kafka.model_copy(update={"topic_prefix": wiring.kafka.topic_prefix + "new."})
    folder = replace(old.folder, wiring=wiring.model_copy(update={"kafka": forgot}))
    install = Install(folder, old.config_dir, old.environ)
    worker = Worker(install, world.worker.bootstrap, ROLES)
    await worker.start()
    try:
        listed = await on_screen(lambda out: show(folder_of(install, config), every=True, as_json=False, out=out))
        assert MODELS in listed
        assert "done by ann: merged as #42" in listed
        reported = {one.words: one.state for one in (await asyncio.to_thread(kept, install)).follow_ups}
        assert reported == {MODELS: "done", QUOTA: "open"}
        twice = FollowUpWord(
            follow_up_id=FollowUpWord.id_of(INCIDENT, QUOTA), action="drop", at_ms=wall_ms(), by="ann", words="retired"
        )
        await Outbox(world.sender, install.topics).send(Topic.KEY_ASKS, [(twice.follow_up_id, twice)])

        async def dropped() -> bool:
            store = worker.store
            assert store is not None
            found = {one.words: (one.state, one.seq) for one in await asyncio.to_thread(stored, store())}
            return found[QUOTA] == ("dropped", 2)

        await until(dropped, "the identity stage goes on from where it was")
    finally:
        await worker.stop()


def folder_of(install: Install, config: Path) -> Path:
    """As the command line finds the same broker."""
    config.mkdir()
    kafka = install.folder.wiring.kafka
    wiring = {"kafka": {"bootstrap": kafka.bootstrap, "topic_prefix": kafka.topic_prefix}, "data_dir": str(config)}
    (config / "keyfuse.yaml").write_text(yaml.safe_dump(wiring))
    return config


async def on_screen(command: Callable[[Console], None]) -> str:
    out = io.StringIO()
    await asyncio.to_thread(command, Console(file=out, width=300))
    return out.getvalue()
