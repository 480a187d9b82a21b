"""Silence about a key through a real worker: its owner is asked, then its approver; throttled, disabled, given back.

The worker's wall clock is moved on from step to step, so that the days of the settings pass in seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from schemas.config.keys import RevalidationConfig
from schemas.config.people import PersonConfig
from schemas.key_record import KeyRecord
from schemas.question import Answer, Question
from schemas.records import AuditRow, Incident
from service.config_tree import Folder
from service.install import wall_ms
from streams.newest_records import read_newest
from streams.outbox import Outbox
from streams.topics import Topic
from tests.alerting.slack_server import slack
from tests.brokers import Broker
from tests.integration.world import World, running, until

KEY = "key_of_vera"
TEAM = {
    "vera": PersonConfig(role="viewer", slack="U0VERA"), "ada": PersonConfig(role="approver", slack="U0ADA"),
}  # fmt: skip
SOCKET = {"slack": {"app_token_env": "SLACK_APP_TOKEN"}, "pictures": False}


@dataclass
class Clock:
    """Runs like the wall's, and is moved on by hand."""

    ahead_ms: int = 0

    def __call__(self) -> int:
        return wall_ms() + self.ahead_ms

    def move_to(self, at_ms: int) -> None:
        self.ahead_ms += max(0, at_ms - self())


def campaign(folder: Folder) -> Folder:
    """Owners are asked, at once of a key that nobody was ever asked about; the times are the defaults."""
    owned = tuple(key.model_copy(update={"owner": "vera"}) for key in folder.keys.keys)
    keys = folder.keys.model_copy(update={"keys": owned, "revalidation": RevalidationConfig(enabled=True)})
    return replace(folder, keys=keys)


class Asked:
    """The one question, and the key that it is about."""

    def __init__(self, world: World, clock: Clock) -> None:
        self.world, self.clock = world, clock
        self.topics = world.worker.install.topics

    async def question(self) -> Question | None:
        name = self.topics.name(Topic.QUESTIONS)
        found: Mapping[str, Question] = await read_newest(self.world.worker.bootstrap, name, 1, Question)
        assert len(found) <= 1
        return next(iter(found.values()), None)

    async def key_is(self, state: str) -> bool:
        found = await read_newest(self.world.worker.bootstrap, self.topics.name(Topic.KEYS), 1, KeyRecord)
        record = found.get(KEY)
        return (record.state if record else "active") == state

    async def after(self, steps: int) -> Question:
        """Time passes until so many steps are due; the question when they are taken."""
        before = await self.question()
        assert before is not None
        assert len(before.reminders) == steps - 1, "no step is taken before its time"
        self.clock.move_to(before.steps[steps - 1].at_ms)

        async def taken() -> bool:
            now = await self.question()
            return now is not None and len(now.reminders) == steps

        await until(taken, f"step {steps}: {before.steps[steps - 1].name}")
        now = await self.question()
        assert now is not None
        return now


async def test_a_key_nobody_answers_for_is_throttled_then_disabled_and_comes_back_with_the_answer(
    broker: Broker, prefix: str, tmp_path: Path
) -> None:
    clock = Clock()
    async with (
        slack() as fake,
        running(
            broker, prefix, tmp_path, roles=("notify", "decide", "contain", "identity"), keys=[KEY], people=TEAM,
            urls={"slack": fake.url}, slack=SOCKET, change=campaign, now_ms=clock,
        ) as world,
    ):  # fmt: skip
        asked, admit = Asked(world, clock), world.sandbox.admit

        async def is_shown() -> bool:
            question = await asked.question()
            return question is not None and question.shown_at_ms is not None

        await until(is_shown, "the owner is shown the question")
        assert [body["channel"] for body in fake.made("chat.postMessage")] == ["U0VERA"]
        assert (await asked.after(1)).to == ("vera",)
        assert (await asked.after(2)).to == ("vera", "ada")
        assert await asked.key_is("active")
        assert admit(KEY) == 200

        await asked.after(3)
        assert await asked.key_is("throttled")
        await until(lambda: world.ended(KEY, "confirmed", "throttle"), "its provider lets few calls pass")
        assert 429 in {admit(KEY) for _ in range(10)}

        await asked.after(4)
        assert await asked.key_is("disabled")
        await until(lambda: world.ended(KEY, "confirmed", "disable"), "its provider refuses it")
        assert admit(KEY) == 401

        question = await asked.question()
        assert question is not None
        answer = Answer(question_id=question.question_id, by="vera", choice="keep", at_ms=clock())
        await Outbox(world.sender, asked.topics).send(Topic.KEY_ASKS, [(answer.question_id, answer)])
        await until(lambda: asked.key_is("active"), "the answer gives it back")
        await until(lambda: admit(KEY) == 200, "its provider takes it again")
        assert {admit(KEY) for _ in range(10)} == {200}, "without a limit"
        acted = [row.action for row in world.told(AuditRow, KEY) if row.action.startswith("revalidation_")]
        assert acted == ["revalidation_throttle", "revalidation_disable"]
        assert world.told(Incident, KEY) == [], "nobody is woken for a key that is not needed"
