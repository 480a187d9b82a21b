"""The gate over HTTP: what is asked well is answered, what is not is told field by field, and no secret comes back."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from gate.http import Listener
from gate.server import MAX_BODY_BYTES, Edge, GateServer
from schemas.fingerprint import Fingerprinter
from tests.gate.world import NOW_MS, Gate

SECRET = "sk-proj-Ab3dEf6hIj9kLm2nOp5qRs8t"
FINGERPRINT = Fingerprinter(SecretStr("pepper"))


def server(gate: Gate, *, token: str = "", problems: list[str] | None = None) -> GateServer:
    edge = Edge(
        gate.decider, FINGERPRINT.of, lambda: NOW_MS, lambda: 0, SecretStr(token) if token else None,
        lambda: problems or [], lambda: b"keyfuse_gate_answers_total 1\n",
    )  # fmt: skip
    return GateServer(edge)


@asynccontextmanager
async def client(gate: Gate, *, token: str = "", problems: list[str] | None = None) -> AsyncIterator[httpx.AsyncClient]:
    listener = Listener(server(gate, token=token, problems=problems))
    async with httpx.AsyncClient(base_url=await listener.start(), trust_env=False) as http:
        yield http
    await listener.stop()


async def post(body: Any, path: str = "/v1/authorize", gate: Gate | None = None) -> httpx.Response:
    async with client(gate or Gate()) as http:
        return await http.post(path, content=body if isinstance(body, bytes) else json.dumps(body).encode())


async def test_a_call_is_authorized_and_settled() -> None:
    async with client(Gate()) as http:
        answer = (await http.post("/v1/authorize", json={"key_id": "k1", "model": "dear", "input_bytes": 10})).json()
        assert (answer["state"], answer["key_id"]) == ("allow", "k1")

        said = {"reservation": answer["reservation"], "input_tokens": 3, "output_tokens": 1, "cost_usd": 0.01}
        states = [(await http.post("/v1/settle", json=said)).json()["state"] for _ in range(2)]

    assert states == ["settled", "already"]


async def test_a_secret_becomes_its_fingerprint_and_is_nowhere_in_the_answer() -> None:
    answer = await post({"key": SECRET})

    assert answer.json()["key_id"] == FINGERPRINT.of(SECRET)
    assert SECRET not in answer.text


async def test_a_refusal_says_why_in_words() -> None:
    gate = Gate()
    gate.verdict("deny", use_instead="k2")

    answer = (await post({"key_id": "k1"}, gate=gate)).json()

    assert answer == {
        "state": "deny", "key_id": "k1", "rule": "verdict of incident inc_1", "use_instead": "k2",
        "reason": "stopped by Keyfuse, incident inc_1: ask team search",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("body", "errors"),
    [
        (b"", {"": "expected one JSON object with the fields key, key_id"}),
        (b"{", {"": "expected one JSON object"}),
        (b"[1]", {"": "expected one JSON object"}),
        (b'"text"', {"": "expected one JSON object"}),
        (b"\xff\xfe", {"": "expected one JSON object"}),
        ({}, {"key": "expected one of key (the secret) and key_id"}),
        ({"key": SECRET, "key_id": "k1"}, {"key": "expected one of key"}),
        ({"key_id": SECRET}, {"key_id": "send it as key"}),
        ({"key": 7, "model": 8}, {"key": "text", "model": "expected text"}),
        ({"key_id": "k1", "max_tokens": 5}, {"max_tokens": "did you mean max_output_tokens?"}),
        ({"key_id": "k1", SECRET: 1}, {"(a name that looks like a secret)": "no such field"}),
        ({"key_id": "k1", "input_tokens": -1}, {"input_tokens": "should be greater than or equal to 0"}),
        ({"key_id": "k1", "input_tokens": 1.5}, {"input_tokens": "expected a whole number"}),
        ({"key_id": "k1", "input_tokens": "9"}, {"input_tokens": "expected a whole number"}),
        ({"key_id": "k1", "input_tokens": True}, {"input_tokens": "expected a whole number"}),
        ({"key_id": "k1", "input_tokens": 10**30}, {"input_tokens": "should be less than"}),
        ({"key_id": "k1", "requests": -1}, {"requests": "should be greater than or equal to 0"}),
        ({"key_id": "k1", "model": "m" * 600}, {"model": "at most 512"}),
        (
            {"key_id": "", "requests": "x", "ip": 5, "modle": "m"},
            {"key_id": "", "requests": "whole number", "ip": "text", "modle": "did you mean model?"},
        ),
    ],
)  # fmt: skip
async def test_every_wrong_field_is_named_and_no_value_is_repeated(body: Any, errors: dict[str, str]) -> None:
    answer = await post(body)

    assert answer.status_code == 400
    found = {each["field"]: each["detail"] for each in answer.json()["errors"]}
    assert found.keys() == errors.keys()
    assert all(words in found[field] for field, words in errors.items()), found
    assert SECRET not in answer.text


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, ["reservation"]),
        ({"reservation": "", "output_tokens": None}, ["reservation", "output_tokens"]),
        ({"reservation": "r1", "cost_usd": -1}, ["cost_usd"]),
        (b'{"reservation": "r1", "cost_usd": NaN}', ["cost_usd"]),
    ],
)
async def test_so_it_is_with_a_settle(body: Any, fields: list[str]) -> None:
    answer = await post(body, "/v1/settle")

    assert answer.status_code == 400
    assert [each["field"] for each in answer.json()["errors"]] == fields


async def test_only_who_bears_the_token_is_answered() -> None:
    async with client(Gate(), token="t0ken") as http:
        without = await http.post("/v1/authorize", json={"key_id": "k1"})
        wrong = await http.post("/v1/authorize", json={"key_id": "k1"}, headers={"Authorization": "Bearer t0kem"})
        small = await http.post("/v1/settle", json={"reservation": "r"}, headers={"Authorization": "bearer t0ken"})
        right = await http.post("/v1/authorize", json={"key_id": "k1"}, headers={"Authorization": "Bearer t0ken"})

    assert [without.status_code, wrong.status_code, small.status_code, right.status_code] == [401, 401, 200, 200]


async def test_a_body_that_is_too_large_is_refused() -> None:
    answer = await post(b" " * (MAX_BODY_BYTES + 1))

    assert answer.status_code == 413
    assert "no prompts" in answer.json()["detail"]


async def test_an_address_that_is_not_there_names_those_that_are() -> None:
    answer = await post({}, "/v1/authorise")

    assert answer.status_code == 404
    assert "POST /v1/authorize" in answer.json()["detail"]


async def test_health_says_what_is_wrong() -> None:
    async with client(Gate()) as http:
        assert [(await http.get(path)).status_code for path in ("/healthz", "/readyz", "/metrics")] == [200] * 3
    async with client(Gate(), problems=["the broker does not answer"]) as http:
        answer = await http.get("/healthz")
    assert (answer.status_code, answer.json()["problems"]) == (503, ["the broker does not answer"])
