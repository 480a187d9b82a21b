"""A question on its way: a real worker asks in Slack, somebody answers there or at a terminal, the message says so."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import yaml
from rich.console import Console

from schemas.config.people import PersonConfig
from schemas.question import Answer, Question
from service import question_commands
from service.errors import UserError
from streams.newest_records import read_newest
from streams.outbox import Outbox
from streams.topics import Topic, Topics
from tests.alerting.questions import question
from tests.alerting.slack_server import CHANNEL, slack
from tests.brokers import Broker
from tests.integration.world import running, until

TEAM = {
    "vera": PersonConfig(role="viewer", slack="U0VERA"), "ada": PersonConfig(role="approver", slack="U0ADA"),
}  # fmt: skip
SOCKET = {"slack": {"app_token_env": "SLACK_APP_TOKEN"}, "pictures": False}


async def test_a_question_is_asked_answered_in_slack_and_at_a_terminal(
    tansu_broker: Broker, prefix: str, tmp_path: Path
) -> None:
    bootstrap, topics = tansu_broker.bootstrap, Topics(prefix)
    async with (
        slack() as fake,
        running(
            tansu_broker, prefix, tmp_path, roles=("notify",), keys=[], people=TEAM, urls={"slack": fake.url},
            slack=SOCKET,
        ) as world,
    ):  # fmt: skip
        outbox = Outbox(world.sender, topics)

        async def tell(version: Question) -> None:
            await outbox.send(Topic.QUESTIONS, [(version.question_id, version)])

        async def answers() -> list[Answer]:
            found = await read_newest(bootstrap, topics.name(Topic.KEY_ASKS), 1, Answer)
            return list(found.values())

        await until(lambda: fake.sockets, "Keyfuse opens a connection")
        await tell(question())
        await until(lambda: fake.made("chat.postMessage"), "ada is written to")
        assert [body["channel"] for body in fake.made("chat.postMessage")] == ["U0ADA"]

        await fake.send(fake.click("U0VERA", "answer_keep"))
        await until(lambda: fake.whispers, "the viewer is told")
        assert "vera is viewer; asked is ada" in fake.whispers[-1]["text"]
        await fake.send(fake.click("U0ADA", "answer_keep"))
        await until(lambda: len(fake.whispers) == 2, "ada is told")
        (said,) = await answers()
        assert (said.by, said.choice, said.via) == ("ada", "keep", "slack")

        await tell(question(state="answered", answered_by="ada", answer="keep", outcome="Asked again in 90 days."))
        await until(lambda: fake.made("chat.update"), "the message is edited")
        assert "Asked again in 90 days." in json.dumps(fake.message()["blocks"])
        assert fake.buttons() == set()

        await outbox.forget(Topic.QUESTIONS, ["rev:key-1:1"])
        await tell(question(question_id="q-2", to=("bo",)))  # who has no id in Slack is asked where the team is
        await until(lambda: len(fake.made("chat.postMessage")) == 2, "the channel is written to")
        assert fake.message()["channel"] == CHANNEL

    config = _folder(tmp_path / "keyfuse.d", bootstrap, prefix)
    shown = await asyncio.to_thread(_listed, config)
    assert "q-2  Is key-1 still needed? (open)" in shown
    assert "keyfuse answer q-2 keep|drop" in shown
    assert "rev:key-1:1" not in shown
    assert await asyncio.to_thread(_answer, config, "q-2", "drop", "vera") == (
        "not taken: vera is viewer; asked is bo, and it needs approver otherwise"
    )
    assert await asyncio.to_thread(_answer, config, "q-3", "drop", "ada") == (
        "no question q-3 is known; `keyfuse questions` shows what waits"
    )
    assert await asyncio.to_thread(_answer, config, "q-2", "drop", "ada") == (
        "answered: Disable it; `keyfuse questions --all` shows what became of it"
    )
    found = await read_newest(bootstrap, topics.name(Topic.KEY_ASKS), 1, Answer)
    assert (found["q-2"].by, found["q-2"].choice, found["q-2"].via) == ("ada", "drop", "terminal")


def _folder(config: Path, bootstrap: str, prefix: str) -> Path:
    config.mkdir()
    wiring = {"kafka": {"bootstrap": bootstrap, "topic_prefix": prefix}, "data_dir": str(config.parent / "data")}
    people = {"people": {name: person.model_dump() for name, person in TEAM.items()}}
    (config / "keyfuse.yaml").write_text(yaml.safe_dump(wiring))
    (config / "people.yaml").write_text(yaml.safe_dump(people))
    return config


def _listed(config: Path) -> str:
    out = Console(record=True, width=200)
    question_commands.questions(config, every=False, as_json=False, out=out)
    return out.export_text()


def _answer(config: Path, question_id: str, choice: str, by: str) -> str:
    out = Console(record=True, width=200)
    try:
        question_commands.answer(config, question_id, choice, reason="", by=by, out=out)
    except UserError as error:
        return str(error)
    return out.export_text().strip()
