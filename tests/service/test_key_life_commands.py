"""`keyfuse keys rotate` and what else people say of a key's life: each word is judged, and its answer waited for."""

from __future__ import annotations

import asyncio
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from rich.console import Console

from controls.registry import Registry
from schemas.config.keys import KeysConfig
from schemas.key_record import KeyRecord
from schemas.records import Outcome, StepState
from schemas.virtual_key import is_virtual_key
from service import key_commands, key_due, key_life_commands
from service.errors import UserError
from service.install import Install, Running, wall_ms
from service.key_commands import Shown
from service.key_due import due_rows
from service.key_life_commands import Said
from service.worker import Worker
from storage.testing import fresh_dsn
from streams.newest_records import read_newest
from streams.outbox import Outbox
from streams.topics import Topic
from tests.brokers import Broker
from tests.controls.lives import DAY_MS, T0_MS, key
from tests.integration.world import until
from tests.service.folder import FolderWith

PEOPLE = "people: {vera: {role: viewer}, rosa: {role: responder}, ada: {role: approver}}\n"
KEYS = """
rotation: {after_leaving_h: 24}
keys:
  - {key_id: key-old, provider: openai, team: search, env: prod, owner: vera, created: 2026-01-01T00:00:00Z}
  - {key_id: key-new, provider: openai, team: search, env: prod, owner: vera, rotate_every_days: 1,
     created: 2026-01-01T00:00:00Z}
"""
WISH = {"team": "search", "app": "ranker", "env": "dev", "purpose": "try new prompts"}


@pytest.fixture
def config(folder_with: FolderWith, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KEYFUSE_PEPPER", "pepper of the tests")
    return folder_with(people=PEOPLE, keys=KEYS)


class Terminal:
    """Runs a command off the event loop; keeps what it printed."""

    def __init__(self, config: Path) -> None:
        self.config = config

    async def __call__(
        self, command: Callable[..., int], *words: Any, by: str = "vera", reason: str = ""
    ) -> tuple[int, str, str]:
        out, err = io.StringIO(), io.StringIO()
        consoles = (Console(file=file, width=200, soft_wrap=True) for file in (out, err))
        said = Said(self.config, reason, by, 20, *consoles)
        code = await asyncio.to_thread(command, *words, said)
        return code, out.getvalue(), err.getvalue()

    async def shows(self, command: Callable[..., None], **options: Any) -> list[dict[str, Any]]:
        out = io.StringIO()
        told = Console(file=out, width=200, soft_wrap=True)
        await asyncio.to_thread(lambda: command(self.config, as_json=True, out=told, **options))
        return [json.loads(line) for line in out.getvalue().splitlines()]


async def test_a_keys_life_at_the_terminal(tansu_broker: Broker, prefix: str, config: Path) -> None:
    wiring = (
        f"kafka: {{bootstrap: '{tansu_broker.bootstrap}', topic_prefix: {prefix}, partitions: 1, fetch_wait_ms: 20}}\n"
    )
    (config / "keyfuse.yaml").write_text(f"{wiring}store: {{dsn: '{fresh_dsn()}'}}\nintake: {{port: 0}}\n")
    worker = Worker(Install.open(config), tansu_broker.bootstrap, ("identity", "archive", "http"))
    run = Terminal(config)
    await worker.start()
    sender = AIOKafkaProducer(bootstrap_servers=tansu_broker.bootstrap)
    await sender.start()
    outbox = Outbox(sender, worker.install.topics)
    try:
        Running(tansu_broker.bootstrap, worker.url, os.getpid()).write(worker.install.data_dir)
        await a_new_secret(run, worker.install)
        await another_owner(run)
        await one_who_leaves(run)
        await a_proof_by_hand(run, outbox, worker.install, tansu_broker)
    finally:
        await sender.stop()
        await worker.stop()


async def a_new_secret(run: Terminal, install: Install) -> None:
    def request(said: Said) -> int:
        shown = Shown(said.out, said.err)
        return key_commands.request(said.config, WISH, by=said.by, request_id="r1", wait_s=20, shown=shown)

    _, secret, _ = await run(request)
    mine = install.fingerprinter().of(secret.strip())
    code, out, err = await run(key_life_commands.rotate, mine, "", 48.0, reason="quarterly")
    assert code == 0
    assert is_virtual_key(out.strip())
    new = install.fingerprinter().of(out.strip())
    assert err.startswith(f"{new} takes over from {mine}, which is served for another 48 h. Shown once")
    with pytest.raises(UserError, match=f"it is retiring by {new}: only a key in use can be rotated"):
        await run(key_life_commands.rotate, mine, "", None)
    with pytest.raises(UserError, match="key-old was made at openai: make a new one there"):
        await run(key_life_commands.rotate, "key-old", "", None)
    with pytest.raises(UserError, match="rosa is responder; the key is vera's, and it needs approver otherwise"):
        await run(key_life_commands.rotate, "key-old", "key-new", None, by="rosa")
    with pytest.raises(UserError, match="this looks like the secret itself"):
        await run(key_life_commands.rotate, out.strip(), "", None)
    found = {row["key_id"]: row["standing"] for row in await run.shows(key_due.due, days=3)}
    assert found == {mine: "overlap", "key-new": "overdue"}


async def another_owner(run: Terminal) -> None:
    code, _, err = await run(key_life_commands.transfer, "key-old", "rosa", reason="vera changed teams")
    assert (code, err.strip()) == (0, "rosa answers for key-old; its secret is due to be changed within 14 days")
    with pytest.raises(UserError, match=r"eve is not in people\.yaml"):
        await run(key_life_commands.transfer, "key-old", "eve", by="rosa")
    code, _, err = await run(key_life_commands.revalidate, "key-old", by="rosa")
    assert (code, err.strip()) == (0, "key-old is still needed, says rosa")


async def one_who_leaves(run: Terminal) -> None:
    with pytest.raises(UserError, match="rosa is responder; it needs approver"):
        await run(key_life_commands.leave, "vera", "", by="rosa")
    code, _, err = await run(key_life_commands.leave, "vera", "", by="ada")
    assert code == 0
    assert err.startswith("others answer for 3 keys of vera now; each secret is due to be changed within 24 h.")


async def a_proof_by_hand(run: Terminal, outbox: Outbox, install: Install, broker: Broker) -> None:
    code, out, _ = await run(key_life_commands.rotate, "key-old", "key-new", 0.0, by="ada")
    assert (code, out) == (0, "")

    async def ordered() -> bool:
        found = await read_newest(broker.bootstrap, install.topics.name(Topic.KEYS), 1, KeyRecord)
        return found["key-old"].retire_asked_ms is not None

    await until(ordered, "its refusal is ordered")
    failed = Outcome(
        command_id="c", incident_id="i", key_id="key-old", step="disable", state=StepState.IRREVOCABLE,
        at_ms=wall_ms(), detail="no provider named openai",
    )  # fmt: skip
    await outbox.send(Topic.OUTCOMES, [("key-old", failed)])

    async def told() -> bool:
        rows = await run.shows(key_due.due, days=0)
        return any(row["why"].endswith("no provider named openai") for row in rows if row["standing"] == "not_proved")

    await until(told, "what is known of it")
    assert await run.shows(key_due.rotations) == []
    code, _, err = await run(key_life_commands.gone, "key-old", by="ada", reason="deleted in the console, 401")
    assert (code, "its evidence says that Keyfuse did not try it" in err) == (0, True)

    async def evidence() -> bool:
        rows = await run.shows(key_due.rotations)
        return [(row["old_key_id"], row["new_key_id"], row["by"]) for row in rows] == [("key-old", "key-new", "ada")]

    await until(evidence, "the evidence is archived")


def test_what_is_due_is_listed_the_most_overdue_first() -> None:
    registry = Registry(KeysConfig(), (
        key("later", rotate_every_days=10.0), key("soon", rotate_every_days=3.0),
        key("never-changed", rotate_every_days=1.0, rotated_ms=None, created_ms=None), key("calm"),
        key("overdue", rotate_every_days=1.0), key("old", state="retiring", valid_until_ms=T0_MS),
        key("overlapping", state="retiring", valid_until_ms=T0_MS + 3 * DAY_MS), key("ended", state="retired"),
    ))  # fmt: skip
    rows = due_rows(registry, T0_MS + 2 * DAY_MS, 2 * DAY_MS)
    assert [(row["key_id"], row["standing"]) for row in rows] == [
        ("never-changed", "overdue"), ("old", "not_proved"), ("overdue", "overdue"), ("overlapping", "overlap"),
        ("soon", "due"),
    ]  # fmt: skip
