"""A client that sends what no gate can be asked is refused itself, and nobody else is let pass because of it."""

from __future__ import annotations

import json
from typing import Any, Final

import httpx
import pytest

from gate.adapters.asking import AsyncGate, Gate
from gate.adapters.settings import Settings

SETTINGS: Final = Settings(gate_url="http://gate")
HALF: Final = {"key": "k" * 10, "model": "dear", "user_id": "\ud800"}
NO_JSON: Final = [{"model": {"a set"}}, {"max_output_tokens": 10**5000}]


def strict(request: httpx.Request) -> httpx.Response:
    """As the gate does it: half a character is no text, and every other call is refused."""
    try:
        json.loads(request.content)["user_id"].encode()
    except KeyError:
        return httpx.Response(200, json={"state": "deny", "rule": "budget b", "reason": "used up"})
    except UnicodeEncodeError:
        return httpx.Response(400, json={"detail": "no text"})
    raise AssertionError("the question came without its half character")


@pytest.mark.parametrize("question", [HALF, *NO_JSON], ids=["half a character", "no JSON", "a number without end"])
async def test_a_call_that_cannot_be_asked_about_is_refused_and_the_gate_stays_there(question: dict[str, Any]) -> None:
    gate = AsyncGate(SETTINGS, transport=httpx.MockTransport(strict))
    threaded = Gate(SETTINGS, transport=httpx.MockTransport(strict))
    for _ in range(4):
        assert (await gate.ask(question)).rule == "gate.bad_question"
        assert threaded.ask(question).rule == "gate.bad_question"

    others = await gate.ask({"key": "k" * 10}), threaded.ask({"key": "k" * 10})
    assert [(each.rule, each.away) for each in others] == [("budget b", False)] * 2
    await gate.close()
    threaded.close()
