"""`keyfuse kill`: the list, the typed word, the orders, and what became of each key."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NoReturn

import pytest
from rich.console import Console

from containment.kill import Wanted
from schemas.records import Outcome, Request, StepState
from service.errors import UserError
from service.install import Install
from service.kill_command import Said, is_end, kill
from streams.kafka import EMBEDDED, consumer, create_topics, producer
from streams.outbox import Outbox
from streams.topics import Topic
from tests.brokers import Broker
from tests.service.folder import FolderWith
from tests.streams.world import T0

KEYS = """keys:
- {key_id: key-1, provider: anthropic, provider_ref: apikey_1, team: search, env: dev, backup: key-6}
- {key_id: key-2, provider: anthropic, provider_ref: apikey_2, team: search, env: prod, protected: true}
- {key_id: key-3, provider: openai, provider_ref: proj_a/key_3, team: ads, env: prod}
- {key_id: key-4, provider: google, team: ads, env: dev}
- {key_id: key-6, provider: anthropic, provider_ref: apikey_6, team: spare, env: dev}
- {key_id: key-5, provider: openai, provider_ref: proj_a/key_5, team: bots, env: prod}
"""
PROVIDERS = "providers: {openai: {kind: openai, secret_env: A}, anthropic: {kind: anthropic, secret_env: B}}\n"
Answer = Callable[[Request], StepState | None]
Killing = Callable[[Said, Answer], Awaitable[tuple[int, str, list[Request]]]]


def said(
    *keys: str, team: str | None = None, mean: int | None = None, revoke: bool = False, wait_s: float = 20
) -> Said:
    return Said(Wanted(keys, team=team), revoke, False, mean, "leaked", "ann", wait_s)


def nobody(prompt: str) -> NoReturn:
    raise EOFError


@pytest.fixture
def config(folder_with: FolderWith) -> Path:
    folder = folder_with(keys=KEYS)
    wiring(folder, "127.0.0.1:1", "none.")
    return folder


def wiring(folder: Path, bootstrap: str, prefix: str) -> None:
    store = "store: {dsn: 'clickhouse://me@127.0.0.1:1/keyfuse'}\n"
    kafka = f"kafka: {{bootstrap: '{bootstrap}', topic_prefix: {prefix}}}\n"
    (folder / "keyfuse.yaml").write_text(kafka + store + PROVIDERS)


@pytest.fixture
def killing(config: Path, tansu_broker: Broker, prefix: str) -> Killing:
    """Runs the command against a broker behind which somebody answers each order with an outcome."""
    wiring(config, tansu_broker.bootstrap, prefix)
    topics = Install.open(config).topics

    async def contain(answer: Answer, heard: list[Request]) -> None:
        reader = consumer(tansu_broker.bootstrap, topics.name(Topic.REQUESTS), f"{prefix}contain", timing=EMBEDDED)
        sender = producer(tansu_broker.bootstrap)
        await reader.start()
        await sender.start()
        try:
            async for record in reader:
                request = Request.from_bytes(record.value)
                heard.append(request)
                state = answer(request)
                if state is not None:
                    outcome = an_outcome(request, state)
                    await Outbox(sender, topics).send(Topic.OUTCOMES, [(request.key_id, outcome)])
        finally:
            await sender.stop()
            await reader.stop()

    async def killed(what: Said, answer: Answer) -> tuple[int, str, list[Request]]:
        await create_topics(tansu_broker.bootstrap, topics.specs())
        heard: list[Request] = []
        out = io.StringIO()
        behind = asyncio.create_task(contain(answer, heard))
        try:
            code = await asyncio.to_thread(kill, config, what, read=nobody, out=Console(file=out, width=400))
        finally:
            behind.cancel()
            await asyncio.gather(behind, return_exceptions=True)
        return code, out.getvalue(), heard

    return killed


def an_outcome(request: Request, state: StepState) -> Outcome:
    assert request.step is not None
    return Outcome(
        command_id="cmd_1", incident_id="inc_1", key_id=request.key_id, step=request.step, state=state,
        at_ms=request.at_ms + 100, detail="as seen", seconds_to_effective=2.5 if state == "confirmed" else None,
    )  # fmt: skip


async def test_all_keys_of_a_team_are_cut_and_seen_to_be(killing: Killing) -> None:
    code, text, heard = await killing(said(team="search", mean=2), lambda request: StepState.CONFIRMED)
    assert code == 0
    assert {(r.key_id, r.action, r.step, r.by, r.reason) for r in heard} == {
        ("key-1", "contain", "disable", "ann", "leaked"), ("key-2", "contain", "disable", "ann", "leaked"),
    }  # fmt: skip
    assert "PROTECTED" in text
    assert "can be undone; its backup key-6 is switched to first" in text
    assert text.count("NO BACKUP, its users stop") == 1
    assert "[2/2] " in text
    assert "key-1: disable confirmed, seen after 2.5 s: as seen" in text
    assert "2 of 2 keys are cut" in text


async def test_what_was_not_cut_is_said_and_the_exit_code_tells(killing: Killing) -> None:
    answers = {"key-1": StepState.CONFIRMED, "key-2": StepState.IRREVOCABLE}
    code, text, _ = await killing(said("key-1", "key-2", "key-4", mean=2), lambda request: answers[request.key_id])
    assert code == 1
    assert "key-4 (ads/unknown in dev, google): NOT CUT: nothing can be done to a key of google" in text
    assert "key-2: disable FAILED, a person must act now" in text
    assert "1 of 3 keys are cut" in text


async def test_a_revoke_in_production_waits_for_the_second_person(killing: Killing) -> None:
    what = said("key-3", mean=1, revoke=True)
    code, text, [request] = await killing(what, lambda request: StepState.AWAITING_APPROVAL)
    assert (code, request.step) == (1, "revoke")
    assert "2 people must order it" in text
    assert "key-3: revoke waits for a person's approval" in text


def test_a_copy_of_an_old_order_that_is_answered_meanwhile_is_not_taken_for_the_answer() -> None:
    """It was confirmed then, and the key was given back since."""
    request = Request(request_id="r", at_ms=T0, by="ann", action="contain", key_id="key-1", step="disable")
    asked = {"key-1": request}
    fresh = an_outcome(request, StepState.CONFIRMED)
    assert is_end(fresh, asked, set())
    assert is_end(fresh.model_copy(update={"at_ms": T0 - 30_000}), asked, set())  # clocks differ a little
    assert not is_end(fresh.model_copy(update={"at_ms": T0 - 120_000}), asked, set())


async def test_an_order_of_keyfuse_itself_is_not_taken_for_the_answer(killing: Killing) -> None:
    """One person is enough for this step, and has ordered it: what waits for an approval is another order."""
    code, text, _ = await killing(said("key-1", mean=1, wait_s=1), lambda request: StepState.AWAITING_APPROVAL)
    assert code == 1
    assert "key-1: ordered, nothing heard in 1 s" in text


@pytest.mark.parametrize(
    ("what", "words"),
    [
        (said(), "nothing is never read as everything"),
        (said(team=""), "--team is empty"),
        (said(team="nope"), "no known key has team nope"),
        (said("key-1", "key-9"), "nobody can say what key-9 is"),
        (said("sk-proj-Ab3dEf6hIj9kLm2nOp5qRs8t"), "looks like the secret itself"),
        (said("key-3"), "none of these keys can be cut like this"),
        (said("key-1", "key-2", mean=3), "--yes-i-mean 3, but 2 keys would be cut: nothing was done"),
        (said("key-1", "key-2"), "nobody is here to be asked: give --yes-i-mean 2"),
        (said("key-1", mean=1), "nothing was ordered: cut the keys at their providers by hand"),
    ],
)
def test_nothing_is_ordered_when_anything_is_unclear(config: Path, what: Said, words: str) -> None:
    with pytest.raises(UserError, match=words):
        kill(config, what, read=nobody, out=Console(quiet=True))


@pytest.mark.parametrize("typed", ["", "yes", "1", "2 kill", "kill 1"])
def test_a_slip_at_the_prompt_does_nothing(config: Path, typed: str) -> None:
    asked: list[str] = []

    def read(prompt: str) -> str:
        asked.append(prompt)
        return typed

    with pytest.raises(UserError, match="that was not it: nothing was done"):
        kill(config, said("key-1"), read=read, out=Console(quiet=True))
    assert asked == ["Type `1 kill` to cut 1 key: "]


def test_the_list_says_who_else_is_hit(config: Path) -> None:
    out = io.StringIO()
    what = Said(Wanted(team="ads"), False, True, 9, "", "ann", 1)
    with pytest.raises(UserError, match="--yes-i-mean 9, but 1 keys"):
        kill(config, what, read=nobody, out=Console(file=out, width=400))
    text = out.getvalue()
    assert "only keys of keys.yaml are looked at" in text
    assert "key-3 (ads/unknown in prod, openai): block, can be undone; stops the whole project; also hits 1" in text
    assert "key-5" in text
