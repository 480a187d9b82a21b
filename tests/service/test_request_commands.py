"""What a person asks for reaches the right topic, with who, why, and what is known of the key."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from schemas.records import Request
from service import request_commands
from service.errors import UserError
from service.install import Install, wall_ms
from service.setup_commands import migrate
from streams.kafka import EMBEDDED, consumer, create_topics
from streams.topics import Topic
from tests.brokers import Broker
from tests.service.folder import FolderWith

KEYS = """keys:
- {key_id: key-1, provider: openai, provider_ref: proj_a/key_1, team: search, env: prod}
- {key_id: key-2, provider: google}
- {key_id: key-3, provider: openai}
- {key_id: key-4, provider: gateway, provider_ref: shop}
"""
PROVIDERS = """providers:
  openai: {kind: openai, secret_env: OPENAI_ADMIN}
  gateway: {kind: command, command: [/bin/cut], steps: {block: {scope: project, reversible: true}}}
"""
Ask = Callable[[Callable[[Path, Console], None], Topic], Any]


@pytest.fixture
def config(folder_with: FolderWith) -> Path:
    """Two registered keys; nothing runs, and the store is out of reach."""
    folder = folder_with(keys=KEYS)
    wiring(folder, "127.0.0.1:1", "none.")
    return folder


def wiring(folder: Path, bootstrap: str, prefix: str) -> None:
    store = "store: {dsn: 'clickhouse://me@127.0.0.1:1/keyfuse'}\n"
    kafka = f"kafka: {{bootstrap: '{bootstrap}', topic_prefix: {prefix}}}\n"
    (folder / "keyfuse.yaml").write_text(kafka + store + PROVIDERS)


@pytest.fixture
def ask(config: Path, tansu_broker: Broker, prefix: str) -> Ask:
    """Runs a command against a broker; returns the request that it sent."""
    wiring(config, tansu_broker.bootstrap, prefix)

    async def asked(command: Callable[[Path, Console], None], topic: Topic) -> tuple[bytes, Request, str]:
        topics = Install.open(config).topics
        await create_topics(tansu_broker.bootstrap, topics.specs())
        said = io.StringIO()
        await asyncio.to_thread(command, config, Console(file=said, width=200))
        reader = consumer(tansu_broker.bootstrap, topics.name(topic), f"{prefix}test", timing=EMBEDDED)
        await reader.start()
        try:
            async with asyncio.timeout(20):
                record = await reader.getone()
        finally:
            await reader.stop()
        return record.key, Request.from_bytes(record.value), said.getvalue()

    return asked


async def test_an_order_to_contain_says_who_why_and_whose_key(ask: Ask) -> None:
    key, request, said = await ask(
        lambda config, out: request_commands.contain(
            config, "key-1", step="revoke", reason="leaked", by="ann", out=out
        ),
        Topic.REQUESTS,
    )
    assert key == b"key-1"
    assert (request.action, request.step, request.by, request.reason) == ("contain", "revoke", "ann", "leaked")
    assert request.facts is not None
    assert (request.facts.provider, request.facts.team, request.facts.env) == ("openai", "search", "prod")
    assert "key-1" in said


@pytest.mark.parametrize("action", ["acknowledge", "resolve", "false_positive", "restore", "approve", "reject"])
async def test_a_word_about_an_incident(ask: Ask, action: request_commands.Action) -> None:
    _, request, said = await ask(
        lambda config, out: request_commands.say(config, "key-1", action, reason="[b]why[/b]", by="bo", out=out),
        Topic.REQUESTS,
    )
    assert (request.action, request.key_id, request.by, request.reason) == (action, "key-1", "bo", "[b]why[/b]")
    assert action.replace("_", " ") in said


async def test_a_snooze_says_until_when(ask: Ask) -> None:
    before_ms = wall_ms()
    _, request, _ = await ask(
        lambda config, out: request_commands.snooze(config, "key-1", "2h", reason="", by="bo", out=out),
        Topic.REQUESTS,
    )
    assert request.until_ms is not None
    assert 0 <= request.until_ms - before_ms - 7_200_000 < 60_000


@pytest.mark.parametrize("span", ["soon", "0m", "8d", "2020-01-01", ""])
def test_a_snooze_without_an_end_within_bounds_is_refused(config: Path, span: str) -> None:
    with pytest.raises(UserError, match="--for"):
        request_commands.snooze(config, "key-1", span, reason="", by="bo", out=Console(file=io.StringIO()))


@pytest.mark.parametrize(
    ("by", "action", "words"),
    [
        ("vera", "acknowledge", "vera is viewer; acknowledge needs responder"),
        ("mallory", "restore", "mallory is not in people.yaml"),
    ],
)
def test_who_may_not_say_it_is_told_so_at_once(
    config: Path, by: str, action: request_commands.Action, words: str
) -> None:
    (config / "people.yaml").write_text("people: {vera: {role: viewer}, ada: {role: approver}}\n")
    with pytest.raises(UserError, match=words):
        request_commands.say(config, "key-1", action, reason="", by=by, out=Console(file=io.StringIO()))


@pytest.mark.parametrize(
    ("by", "proof", "words"),
    [
        ("rosa", "false", "rosa is responder; contain for good needs approver"),
        ("ada", "true", "contain for good counts only in Slack"),
    ],
)
def test_who_may_not_order_it_for_good_is_told_so_at_once(config: Path, by: str, proof: str, words: str) -> None:
    people = f"people: {{rosa: {{role: responder}}, ada: {{role: approver}}}}\nfinal_needs_proof: {proof}\n"
    (config / "people.yaml").write_text(people)
    with pytest.raises(UserError, match=words):
        request_commands.contain(config, "key-1", step="revoke", reason="", by=by, out=Console(file=io.StringIO()))


async def test_a_person_is_heard_even_when_nobody_can_say_what_the_key_is(ask: Ask) -> None:
    _, request, _ = await ask(
        lambda config, out: request_commands.contain(config, "key-9", step="", reason="", by="ann", out=out),
        Topic.REQUESTS,
    )
    assert (request.key_id, request.facts) == ("key-9", None)


@pytest.mark.parametrize("frozen", [True, False])
async def test_freezing_is_a_file_here_and_a_request_for_the_others(ask: Ask, config: Path, *, frozen: bool) -> None:
    _, request, _ = await ask(
        lambda folder, out: request_commands.freeze(folder, frozen=frozen, reason="drill", by="ann", out=out),
        Topic.REQUESTS,
    )
    assert request.action == ("freeze" if frozen else "unfreeze")
    assert (config.parent / ".keyfuse" / "FREEZE").exists() is frozen


@pytest.mark.parametrize(
    ("key_id", "step", "words"),
    [
        ("key-1", "explode", "--step explode: expected one of throttle"),
        ("key-1", "notify", "--step notify: expected one of throttle"),
        ("key-1", "degrade", "--step degrade: openai offers"),
        ("key-2", "", "add `providers.google` to keyfuse.yaml"),
        ("key-4", "", r"every step for key-4 stops more than this key, so name it: --step block \(the whole project\)"),
        ("key-3", "", "key-3 is not how openai names a key: give its provider_ref in keys.yaml"),
        ("sk-proj-Ab3dEf6hIj9kLm2nOp5qRs8t", "", "looks like the secret itself"),
    ],
)
def test_an_order_that_could_only_end_in_nothing_is_refused(config: Path, key_id: str, step: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        request_commands.contain(config, key_id, step=step, reason="", by="ann", out=Console())


@pytest.mark.parametrize("action", ["approve", "reject"])
def test_where_nothing_waits_there_is_nothing_to_approve(config: Path, action: request_commands.Action) -> None:
    (config / "keyfuse.yaml").write_text("")  # the embedded store, which is empty
    migrate(config, out=Console(file=io.StringIO()))
    with pytest.raises(UserError, match="nothing waits for an approval for key-1"):
        request_commands.say(config, "key-1", action, reason="", by="ann", out=Console(file=io.StringIO()))


def test_a_key_that_the_store_has_never_seen_is_a_slip(config: Path) -> None:
    (config / "keyfuse.yaml").write_text("")  # the embedded store, which is empty
    migrate(config, out=Console(quiet=True))
    with pytest.raises(UserError, match="nothing is known of a key key-9"):
        request_commands.say(config, "key-9", "acknowledge", reason="", by="ann", out=Console())


@pytest.mark.parametrize("by", ["keyfuse", " Keyfuse ", "unknown"])
def test_nobody_may_pass_for_keyfuse(by: str) -> None:
    with pytest.raises(UserError, match="say who you are"):
        request_commands.person(by)


def test_who_asks_is_the_login_name_unless_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "carla")
    assert request_commands.person("") == "carla"
    assert request_commands.person(" ann ") == "ann"
