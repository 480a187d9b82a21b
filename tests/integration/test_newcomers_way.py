"""A newcomer's way with real parts: from the request for a key to the report on what became of it."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx
import openai

from tests.integration.newcomer import BUDGET, Newcomer, newcomer
from tests.integration.servers import board
from tests.integration.world import until

HI: Final[Any] = [{"role": "user", "content": "hi"}]


class Caller:
    """The real client with one key."""

    def __init__(self, world: Newcomer, key: str, *, origin: str = "") -> None:
        headers = {"x-forwarded-for": origin} if origin else {}
        self._client = partial(
            openai.AsyncOpenAI, base_url=f"{world.proxy_url}/v1", api_key=key, max_retries=0, default_headers=headers
        )

    async def call(self, tokens: int = 100) -> str:
        """The model that answered, or `status: words` of a refusal."""
        async with self._client() as client:
            try:
                said = await client.chat.completions.create(model="gpt-4o", messages=HI, max_tokens=tokens)
            except openai.APIStatusError as refused:
                return f"{refused.status_code}: {refused.message}"
        return said.model

    async def until_answered(self, wanted: str, what: str, *, tokens: int = 100) -> str:
        """Calls again and again until an answer has these words in it."""
        last = ""

        async def so() -> bool:
            nonlocal last
            last = await self.call(tokens)
            return re.search(wanted, last) is not None

        await until(so, lambda: f"{what}; the last answer was {last}", every_s=0.2)
        return last


async def issued(world: Newcomer, *more: str) -> tuple[str, str]:
    """A key asked for at the terminal: its secret, which is shown once, and its key_id."""
    wish = ("--team", "search", "--app", "ranker", "--env", "dev", "--purpose", "rank answers", *more)
    told = json.loads(await world.say("keys", "request", *wish, "--json", by="ann"))
    assert told["state"] == "active"
    return told["key"], told["key_id"]


async def test_a_newcomers_way_from_the_request_to_the_report(tmp_path: Path) -> None:
    async with board() as services, newcomer(tmp_path, services) as world:
        spare, spare_id = await issued(world)
        secret, key_id = await issued(world, "--backup", spare_id)
        ours = Caller(world, secret)
        await ours.until_answered("^gpt-4o$", "the first call is answered", tokens=1)

        def told() -> set[tuple[str, int]]:
            """Each version of an incident with which people were told that half of the budget is spent."""
            versions = [arrived.json["data"] for arrived in services.webhook.arrived]
            spent = (
                one for one in versions if re.match(f"{BUDGET} has spent .* 5.%", one["transition"], re.IGNORECASE)
            )
            return {(one["incident_id"], one["seq"]) for one in spent}

        await ours.until_answered("^gpt-4o$", "half of the budget is spent", tokens=2600)
        await until(told, lambda: f"the soft threshold is told; {services.webhook.arrived}")
        await ours.until_answered("^gpt-4o$", "more than four fifths are spent", tokens=1600)
        await ours.until_answered("gpt-4o-mini", "a tight budget goes on with the cheaper model", tokens=1)
        refusal = await ours.until_answered("^403: ", "a budget that is used up refuses", tokens=9000)
        assert BUDGET in refusal

        await world.say(
            "policy", "except", "--rule", "budget_usd", "--of", BUDGET, "--limit", "50", "--for", "12h", "--reason",
            "launch", by="ann",
        )  # fmt: skip
        exception = re.search(r"exc_\w+", await world.say("policy", "exceptions", "--all"))
        assert exception is not None
        await world.say("policy", "approve", exception[0], "--reason", "agreed", by="bob")
        await ours.until_answered("^gpt-4o$", "the exception of a second person holds")

        thief = Caller(world, secret, origin="203.0.113.9")
        cut = await thief.until_answered("^403: ", "the stolen key is cut", tokens=20_000)
        assert " incident inc_" in cut, "and nothing else refuses for good: the raised budget has room"
        assert (await ours.call()).startswith("403: ")

        async def contained() -> bool:
            return any(each.key_id == key_id and each.state == "contained" for each in await world.incidents())

        await until(contained, "the incident says that the cut is verified", every_s=0.2)
        [incident] = [each for each in await world.incidents() if each.key_id == key_id]
        assert any("gate" in step.detail for step in incident.steps)
        async with httpx.AsyncClient(trust_env=False) as http:
            answer = await http.post(f"{world.gate_url}/v1/authorize", json={"key_id": key_id, "model": "gpt-4o"})
        assert answer.json()["use_instead"] == spare_id
        assert await Caller(world, spare).call() == "gpt-4o"

        await world.say("keys", "rotate", spare_id, "--overlap-h", "0", "--reason", "on schedule", by="ann")
        await until(
            lambda: world.rotated(spare_id), "the old secret is proved to be refused", patience_s=60, every_s=0.2
        )
        assert spare_id in await world.say("keys", "rotations")
        assert (await Caller(world, spare).call()).startswith(("401", "403"))
        report = await world.say("governance")
        assert f"{spare_id} → " in report
        assert f"{exception[0]}: budget_usd" in report
        assert len(told()) == 1, "once in its period, however often it was passed"
