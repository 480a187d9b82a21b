"""A Slack desk before a strict Slack, with a few people and incidents; no broker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from pydantic import SecretStr

from alerting.answers.desk import Desk
from alerting.answers.errors import Unavailable
from alerting.answers.plans import KillList, KillOrder, KillWanted, PlanWords, StepWords
from alerting.answers.questions import QuestionDesk
from alerting.answers.slack_calls import SlackCalls
from alerting.answers.slack_desk import SlackDesk
from alerting.answers.slack_work import Knowledge, SlackWork
from alerting.channels.slack import SlackChannel
from alerting.channels.slack_client import SlackApi
from containment.kill import means_it
from controls.people import People
from schemas.config import PeopleConfig
from schemas.config.routes import ChannelConfig, SlackConfig
from schemas.question import Answer, Question
from schemas.records import CLOSED, Incident, KeyFacts, Request
from tests.alerting.slack_server import BOT, CHANNEL, FakeSlack, slack
from tests.alerting.world import FACTS, T0_MS, incident

TEAM = {
    "vera": {"role": "viewer", "slack": "U0VERA"}, "rosa": {"role": "responder", "slack": "U0ROSA"},
    "ada": {"role": "approver", "slack": "U0ADA"},
}  # fmt: skip
PLAN = PlanWords(
    about=(("Key", "fp1:0123456789abcdef"), ("Owner", "search/ranker in prod")), next="nothing is done by itself",
    at_stake="$4,176.00 in 24 h",
    steps=(
        StepWords("disable", "Disable at the provider", "can be undone, stops this key alone, about 5 s",
                  "The key is refused.", "", 1, ""),
        StepWords("revoke", "Revoke for good", "CANNOT BE UNDONE, stops this key alone, about 5 s",
                  "The key is gone.", "1 of keys.yaml: key-2", 2, ""),
    ),
)  # fmt: skip


class Known:
    """Incidents by id."""

    def __init__(self, *incidents: Incident) -> None:
        self.all = {one.incident_id: one for one in incidents}
        self.whole = True

    def get(self, incident_id: str) -> Incident | None:
        return self.all.get(incident_id)

    def of_key(self, key_id: str) -> Incident | None:
        return next((one for one in self.all.values() if one.key_id == key_id), None)

    def open(self) -> list[Incident]:
        return [one for one in self.all.values() if one.state not in CLOSED]

    def complete(self) -> bool:
        return self.whole


@dataclass
class Bench:
    """What stands around the desk, and what came of it."""

    fake: FakeSlack
    incidents: Known
    people: People
    sent: list[Request] = field(default_factory=list)
    refused: list[tuple[Request, str]] = field(default_factory=list)  # for the audit
    questions: dict[str, Question] = field(default_factory=dict)
    answers: list[Answer] = field(default_factory=list)
    not_counted: list[str] = field(default_factory=list)  # of answers, why not
    results: list[str] = field(default_factory=list)
    plan: PlanWords = PLAN
    plan_takes: asyncio.Event | None = None  # the plan is not made before this is set
    keys: dict[str, KeyFacts] = field(default_factory=dict)
    broker_away_after: int | None = None  # records that it still takes
    slept: int = 0
    news: Incident | None = None  # told of while somebody waits
    desk: SlackDesk = field(init=False)

    async def send(self, request: Request) -> None:
        if self.broker_away_after is not None and len(self.sent) >= self.broker_away_after:
            raise Unavailable("the broker does not answer")
        self.sent.append(request)

    async def keep(self, request: Request, why: str) -> None:
        self.refused.append((request, why))

    async def answer(self, answer: Answer) -> None:
        if self.broker_away_after is not None:
            raise Unavailable("the broker does not answer")
        self.answers.append(answer)

    async def keep_answer(self, question: Question, answer: Answer, why: str) -> None:
        self.not_counted.append(f"{question.question_id} {answer.choice}: {why}")

    def kill(self, wanted: KillWanted) -> KillList:
        found = [key for key, facts in self.keys.items() if key in wanted.keys or wanted.team == facts.team]
        if not found:
            raise ValueError("no known key is meant: nothing to kill")
        return KillList(
            tuple(f"{key}: disable" for key in found),
            tuple(KillOrder(key, "disable", self.keys[key]) for key in found),
        )

    async def sleep(self, _: float) -> None:
        """Time passes, and news arrive."""
        self.slept += 1
        if self.news is not None:
            self.incidents.all[self.news.incident_id] = self.news
        await asyncio.sleep(0)

    async def post(self, one: Incident) -> None:
        """Show the incident in the channel, as notify does."""
        channel = self.channel()
        await channel.deliver(one, None)
        await channel.close()

    async def ask(self, question: Question, *, member: str = "") -> None:
        """Ask in the channel, as notify does."""
        channel = self.channel()
        await channel.ask(question, None, member=member)
        await channel.close()

    def channel(self) -> SlackChannel:
        config = ChannelConfig(
            kind="slack", target=CHANNEL, base_url=f"{self.fake.url}/api/", slack=SlackConfig(app_token_env="APP")
        )
        return SlackChannel("security", config, SecretStr(BOT))

    async def take(self, payload: object) -> dict[str, object]:
        """What Slack is acknowledged with; returns when the work is done."""
        received = self.desk.receive(payload)
        if received.work is not None:
            await received.work
        return received.ack or {}

    def told(self) -> str:
        """What the one person was told last."""
        return str(self.fake.whispers[-1]["text"])


@asynccontextmanager
async def bench(*incidents: Incident, people: dict[str, dict[str, str]] | None = None) -> AsyncIterator[Bench]:
    async with slack() as fake:
        named = People(PeopleConfig.model_validate({"people": TEAM if people is None else people}))
        one = Bench(fake, Known(*(incidents or (incident(),))), named)

        def plan(_: Incident) -> PlanWords:
            if one.plan_takes is not None:
                asyncio.run_coroutine_threadsafe(one.plan_takes.wait(), loop).result(10)
            return one.plan

        loop = asyncio.get_running_loop()
        api = SlackApi("security", ChannelConfig(kind="slack", base_url=f"{fake.url}/api/"), SecretStr(BOT))
        desk = Desk(
            people=lambda: one.people, incidents=one.incidents, send=one.send, now_ms=lambda: T0_MS, refused=one.keep
        )
        questions = QuestionDesk(
            people=lambda: one.people, known=one.questions.get, send=one.answer, refused=one.keep_answer,
            now_ms=lambda: T0_MS, sleep=one.sleep,
        )  # fmt: skip
        work = SlackWork(
            desk, questions, SlackCalls(api, sleep=_no_sleep), Knowledge(plan, one.kill, means_it),
            now_ms=lambda: T0_MS, sleep=one.sleep, counted=one.results.append,
        )  # fmt: skip
        one.desk = SlackDesk(work, people=lambda: one.people.of_slack, now_ms=lambda: T0_MS)
        one.keys = {"key-1": FACTS, "key-2": FACTS}
        try:
            yield one
        finally:
            await one.desk.close()
            await api.close()


async def _no_sleep(_: float) -> None:
    await asyncio.sleep(0)
