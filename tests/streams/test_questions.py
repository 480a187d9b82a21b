"""The stage that asks: once in each place, through restarts, dead channels and newer versions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from alerting.asking import Shown, digest_of
from alerting.channels.errors import ChannelError, Reason, Refused, Retryable
from alerting.channels.memory import MemoryChannel
from schemas.config import RoutesConfig
from schemas.question import Question, QuestionShown
from streams.metrics import Metrics
from streams.questions import QuestionDeps, QuestionStage
from streams.topics import Topic
from tests.alerting.questions import question
from tests.streams.world import T0, MemoryOutbox, MemoryShards

ROUTES = RoutesConfig.model_validate(
    {"channels": {"chat": {"kind": "slack"}}, "routes": [{"teams": ["search"], "channels": ["chat"]}]}
)
DAY_MS = 86_400_000
MEMBERS = {"ada": "U0ADA", "bo": "U0BO"}


class Chat(MemoryChannel):
    """Asks, and remembers what and whom; `refusing` holds members it cannot write to."""

    hears = True

    def __init__(self) -> None:
        super().__init__("chat")
        self.said: list[tuple[str, str, bool]] = []  # member, outcome, edited
        self.errors: list[ChannelError] = []
        self.refusing: set[str] = set()

    async def ask(self, question: Question, previous: Shown | None, *, member: str = "") -> Shown:
        if self.errors:
            raise self.errors.pop(0)
        if member in self.refusing:
            raise Refused(self.name, Reason.NOT_FOUND, "no such person")
        self.said.append((member, question.outcome, previous is not None))
        return Shown(digest=digest_of(question), reminded=0, ids={"ts": str(len(self.said))})


class World:
    def __init__(self) -> None:
        self.chat, self.store, self.metrics, self.outbox = Chat(), MemoryShards(), Metrics(), MemoryOutbox()
        self.now_ms, self.sleeps, self.passes_s = T0, 0, 0
        self.stage = self.new_stage()

    def new_stage(self, *, chat: bool = True) -> QuestionStage:
        return QuestionStage(
            QuestionDeps(
                routes=lambda: ROUTES, member=lambda name: MEMBERS.get(name, ""),
                channels={"chat": self.chat} if chat else {}, store=self.store, load=self.store.load,
                outbox=self.outbox, metrics=self.metrics, now_ms=lambda: self.now_ms, sleep=self.sleep,
            )
        )  # fmt: skip

    async def sleep(self, seconds: float) -> None:
        self.sleeps += 1
        self.now_ms += round(max(seconds, self.passes_s) * 1000)
        await asyncio.sleep(0)

    async def ask(self, *versions: Question) -> None:
        """Returns when all of them are acknowledged."""
        ends = [asyncio.Event() for _ in versions]
        for version, end in zip(versions, ends, strict=True):
            self.stage.on_question(version.to_bytes(), done=end.set)
        async with asyncio.timeout(5):
            await asyncio.gather(*(end.wait() for end in ends))


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    yield made
    await made.stage.stop()


async def test_a_question_is_asked_once_and_edited_from_then_on(world: World) -> None:
    await world.ask(question())
    await world.ask(question())
    await world.ask(question(outcome="kept"))
    assert world.chat.said == [("U0ADA", "", False), ("U0ADA", "kept", True)]


async def test_the_identity_stage_is_told_when_somebody_was_shown_an_open_question(world: World) -> None:
    world.chat.errors = [Refused("chat", Reason.NOT_FOUND, "no such person")]
    await world.ask(question())
    await world.ask(question(shown_at_ms=T0))
    await world.ask(question(state="withdrawn"))
    (seen,) = world.outbox.of(Topic.KEY_ASKS)
    assert isinstance(seen, QuestionShown)
    assert (seen.question_id, seen.at_ms) == ("rev:key-1:1", T0)


async def test_after_a_restart_the_message_is_edited(world: World) -> None:
    await world.ask(question())
    world.stage = world.new_stage()
    await world.ask(question(), question(outcome="kept"))
    assert world.chat.said == [("U0ADA", "", False), ("U0ADA", "kept", True)]


async def test_whoever_is_added_is_asked_and_whoever_was_asked_stays_told(world: World) -> None:
    await world.ask(question())
    await world.ask(question(to=("bo",), outcome="escalated"))
    assert world.chat.said == [("U0ADA", "", False), ("U0BO", "escalated", False), ("U0ADA", "escalated", True)]


async def test_a_chat_that_is_down_is_tried_until_it_is_back(world: World) -> None:
    world.chat.errors = [Retryable("chat", Reason.CONNECTION, "down") for _ in range(6)]
    await world.ask(question())
    assert world.chat.said == [("U0ADA", "", False)]
    assert world.sleeps > 4


async def test_a_newer_version_does_not_wait_for_an_older_one(world: World) -> None:
    world.chat.errors = [Retryable("chat", Reason.CONNECTION, "down") for _ in range(4)]
    await world.ask(question(), question(outcome="kept"))
    assert world.chat.said == [("U0ADA", "kept", False)]


async def test_who_cannot_be_written_to_is_asked_where_the_team_is(world: World) -> None:
    world.chat.refusing = {"U0ADA"}
    await world.ask(question(to=("ada", "bo")))
    assert world.chat.said == [("U0BO", "", False), ("", "", False)]


async def test_after_a_day_it_is_given_up_and_counted(world: World) -> None:
    world.chat.errors = [Retryable("chat", Reason.TIMEOUT, "slow", retry_after_s=DAY_MS / 1000) for _ in range(30)]
    world.passes_s = 3600
    await world.ask(question())
    assert world.chat.said == []
    assert 'keyfuse_questions_total{channel="chat",result="timeout"}' in world.metrics.render().decode()


async def test_where_no_channel_can_ask_it_is_counted_and_the_question_stays_listed(world: World) -> None:
    world.stage = world.new_stage(chat=False)
    await world.ask(question())
    assert 'keyfuse_questions_total{channel="",result="nowhere"} 1.0' in world.metrics.render().decode()


async def test_what_is_no_question_stops_nothing(world: World) -> None:
    done = asyncio.Event()
    world.stage.on_question(b"{}", done=done.set)
    await done.wait()
    world.stage.on_question(None, done=done.clear)  # forgotten
    assert not done.is_set()
    await world.ask(question())
    assert len(world.chat.said) == 1
