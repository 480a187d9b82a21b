"""`keyfuse keys` as people use it: asking, waiting, approving, looking back; each slip told with the option to mend."""

from __future__ import annotations

import asyncio
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from rich.console import Console

from containment.sandbox_server import create_sandbox
from schemas.virtual_key import is_virtual_key
from service import key_commands
from service.errors import UserError
from service.install import Install, Running
from service.key_commands import Shown
from service.local_server import LocalServer
from service.setup_commands import migrate
from service.worker import Worker
from storage.testing import fresh_dsn
from tests.brokers import Broker
from tests.integration.world import until
from tests.service.folder import FolderWith

WISH = {"team": "search", "app": "ranker", "env": "dev", "purpose": "try new prompts"}
PEOPLE = "people: {ann: {role: viewer}, bob: {role: approver}}\n"
KEYS = "keys: [{key_id: key-1, provider: openai, team: ads, env: prod, owner: bob}]\n"


@pytest.fixture
def config(folder_with: FolderWith, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KEYFUSE_PEPPER", "pepper of the tests")
    return folder_with(people=PEOPLE, keys=KEYS)


class Terminal:
    """Runs a command off the event loop; keeps what it printed."""

    def __init__(self, config: Path) -> None:
        self.config = config

    async def __call__(self, command: Callable[..., Any], *words: Any, **options: Any) -> tuple[Any, str, str]:
        out, err = io.StringIO(), io.StringIO()
        told = Console(file=out, width=200, soft_wrap=True)
        if command is key_commands.request:
            options["shown"] = Shown(told, Console(file=err, width=200, soft_wrap=True), options.pop("as_json", False))
            options = {"by": "ann", "request_id": "", "wait_s": 20} | options
        else:
            options["out"] = told
        code = await asyncio.to_thread(lambda: command(self.config, *words, **options))
        return code, out.getvalue(), err.getvalue()


async def test_from_the_wish_to_the_history(
    tansu_broker: Broker, prefix: str, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SANDBOX_ADMIN", "admin-of-the-sandbox")
    sandbox = LocalServer(create_sandbox(SecretStr("admin-of-the-sandbox")))
    kafka = f"{{bootstrap: '{tansu_broker.bootstrap}', topic_prefix: {prefix}, partitions: 1, fetch_wait_ms: 20}}"
    provider = f"{{kind: sandbox, base_url: '{await sandbox.start()}', secret_env: SANDBOX_ADMIN}}"
    (config / "keyfuse.yaml").write_text(
        f"kafka: {kafka}\nstore: {{dsn: '{fresh_dsn()}'}}\nintake: {{port: 0}}\nproviders: {{sandbox: {provider}}}\n"
    )
    roles, run = ("identity", "archive", "http", "decide", "contain"), Terminal(config)
    worker = Worker(Install.open(config), tansu_broker.bootstrap, roles)
    await worker.start()
    try:
        Running(tansu_broker.bootstrap, worker.url, os.getpid()).write(worker.install.data_dir)
        await a_key_at_once(run)
        await a_key_that_waits(run)
        await a_credential_that_is_collected(run)
    finally:
        await worker.stop()
        await sandbox.stop()


async def a_key_at_once(run: Terminal) -> None:
    code, out, err = await run(key_commands.request, WISH, request_id="r1")
    assert code == 0
    assert is_virtual_key(out.strip())
    assert "active until" in err
    assert "$5.00 a day, 60 requests a minute" in err
    _, out, err = await run(key_commands.request, WISH, request_id="r1")
    assert (out, "its key was shown then" in err) == ("", True)
    _, out, _ = await run(key_commands.show, "r1", as_json=False)
    assert all(words in out for words in ("active", "search", "try new prompts", "issued at once")), out
    _, out, _ = await run(key_commands.listed, {"team": "", "state": "active"}, as_json=False)
    assert [line.split()[1] for line in out.splitlines()] == ["prod", "dev"]


async def a_key_that_waits(run: Terminal) -> None:
    code, out, err = await run(key_commands.request, {**WISH, "env": "prod"}, request_id="r2", as_json=True)
    told = json.loads(out)
    assert (code, told["state"], is_virtual_key(told["key"]), err) == (0, "pending", True, "")
    assert "keys in prod are approved by a person" in told["detail"]
    with pytest.raises(UserError, match="ann asked for it: somebody else has to answer"):
        await run(key_commands.judge, "r2", "approve", reason="", by="ann")
    await run(key_commands.judge, told["key_id"], "approve", reason="for the launch", by="bob")

    async def approved() -> bool:
        _, out, _ = await run(key_commands.show, "r2", as_json=True)
        return bool(json.loads(out)["state"] == "active")

    await until(approved, "the approval")
    with pytest.raises(UserError, match="waits for nobody: it is active"):
        await run(key_commands.judge, "r2", "refuse", reason="", by="bob")
    _, out, _ = await run(key_commands.history, told["key_id"], as_json=False)
    first, second = out.splitlines()
    assert "ann" in first
    assert "asked for; waits for an approver" in first
    assert "approved by bob: for the launch; state pending → active" in second
    _, out, _ = await run(key_commands.history, "key-1", as_json=False)
    assert out.split()[1:] == ["keys.yaml", "registered"]
    with pytest.raises(UserError, match="nothing is known of a key or request fp1:none"):
        await run(key_commands.history, "fp1:none", as_json=False)


async def a_credential_that_is_collected(run: Terminal) -> None:
    wish = {**WISH, "env": "prod", "kind": "provider", "provider": "sandbox"}
    code, out, err = await run(key_commands.request, wish, request_id="r3")
    assert (code, out) == (0, "")
    assert "it is made then: `keyfuse keys collect r3` shows it, here" in err
    with pytest.raises(UserError, match="r3: there is nothing to collect, it waits for an approver"):
        await run(key_commands.collect, "r3")
    await run(key_commands.judge, "r3", "approve", reason="", by="bob")

    async def made() -> bool:
        _, out, _ = await run(key_commands.show, "r3", as_json=True)
        return bool(json.loads(out)["state"] == "active")

    await until(made, "the credential")
    _, out, _ = await run(key_commands.collect, "r3")
    assert out.startswith("sk-sandbox-")
    with pytest.raises(UserError, match="collect it where it was asked for, once"):
        await run(key_commands.collect, "r3")

    async def told() -> bool:
        _, out, _ = await run(key_commands.history, "r3", as_json=False)
        words = ("asked for; waits", "approved by bob; it is being made", "made: it goes by", "made at sandbox")
        return all(word in out for word in words)

    await until(told, "its whole history in the store")
    _, out, _ = await run(key_commands.listed, {"team": "search"}, as_json=False)
    assert [line.split()[0] for line in out.splitlines()] == ["active"] * 3


@pytest.mark.parametrize(
    ("wish", "by", "words"),
    [
        ({}, "ann", "3 things to mend\n  --team: say which team answers for it\n  --env: say in which"),
        ({**WISH, "owner": "eve"}, "ann", "--owner: eve is not in people.yaml"),
        (WISH, "eve", "--by: eve is not in people.yaml"),
        ({**WISH, "quota_usd_per_day": -1}, "ann", "--quota-usd-per-day: expected USD, more than 0"),
        ({**WISH, "networks": ["home"]}, "ann", "--network: expected networks in CIDR"),
        (WISH, "keyfuse", "say who you are"),
    ],
)
def test_a_slip_is_told_with_the_option_that_mends_it(config: Path, wish: dict[str, Any], by: str, words: str) -> None:
    (config / "keyfuse.yaml").write_text(f"store: {{dsn: '{fresh_dsn()}'}}\n")
    migrate(config, out=Console(file=io.StringIO()))
    with pytest.raises(UserError) as told:
        key_commands.request(config, wish, by=by, request_id="", wait_s=1, shown=Shown(Console(), Console()))
    assert words in str(told.value)
