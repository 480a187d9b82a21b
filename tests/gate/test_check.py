"""`/v1/check` on the gate's core: what nginx and Envoy are answered."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Final

import httpx
import pytest
from pydantic import SecretStr

from gate.check import MAX_BODY_BYTES, PATH
from gate.checks import HOLD_MS, Checks
from gate.http import Listener
from gate.ports import Rate
from gate.server import Edge, GateServer
from schemas.config.keys import KeyConfig
from tests.gate.world import NOW_MS, Gate, Rules

KEY: Final = KeyConfig(key_id="fp1:sk-number-one", provider="openai", team="search", app="shop", env="prod")
SECRET: Final = {"authorization": "Bearer sk-number-one"}
CALL: Final = {"model": "dear", "messages": [{"role": "user", "content": "x" * 30}], "max_tokens": 5}


@dataclass
class Front:
    """The gate, and a proxy's questions to it."""

    gate: Gate = field(default_factory=lambda: Gate(keys=(KEY,)))
    token: str = ""
    tick_ms: int = 0

    def __post_init__(self) -> None:
        token = SecretStr(self.token) if self.token else None
        edge = Edge(
            self.gate.decider, lambda secret: f"fp1:{secret}", lambda: NOW_MS, lambda: self.tick_ms, token, list, bytes
        )
        self.server = GateServer(edge)
        self.server.beneath(PATH.encode(), Checks(edge).answer)

    async def ask(self, body: Any = CALL, *, method: str = "POST", path: str = "", **headers: str) -> httpx.Response:
        named = [(name.replace("_", "-"), value) for name, value in (SECRET | headers).items()]
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        listener = Listener(self.server)
        async with httpx.AsyncClient(base_url=await listener.start(), trust_env=False) as http:
            answer = await http.request(method, f"{PATH}{path}", content=content, headers=named)
        await listener.stop()
        return answer


async def test_an_allowed_call_is_200_without_words() -> None:
    answer = await Front().ask(path="/v1/chat/completions?x=1")
    assert (answer.status_code, answer.content) == (200, b"")
    assert "x-keyfuse-state" not in answer.headers
    assert answer.headers["x-keyfuse-key-id"] == "fp1:sk-number-one"


@pytest.mark.parametrize(
    ("state", "status"), [("deny", 403), ("allow", 200)], ids=["denied by a verdict", "allowed by one"]
)
async def test_a_verdict_is_a_status(state: Any, status: int) -> None:
    front = Front()
    front.gate.verdict(state, key_id="fp1:sk-number-one")
    answer = await front.ask()
    assert answer.status_code == status
    if status == 403:
        assert answer.json()["error"]["message"].startswith("Keyfuse: stopped by Keyfuse, incident inc_1")
        assert answer.headers["x-keyfuse-rule"] == "verdict of incident inc_1"


async def test_a_ceiling_is_429_with_the_time_to_wait() -> None:
    front = Front(Gate(keys=(KEY,), rules=Rules(limits=(Rate("policy p: requests", "requests", 60, 1),))))
    statuses = [(await front.ask()).status_code for _ in range(2)]
    assert statuses == [200, 429]
    assert 1 <= int((await front.ask()).headers["retry-after"]) <= 70


async def test_the_model_in_the_body_is_judged_and_one_that_a_header_names_where_there_is_no_body() -> None:
    front = Front(Gate(keys=(KEY,), rules=Rules(denied_models=frozenset({"dear"}))))
    assert (await front.ask()).status_code == 403
    assert (await front.ask(CALL | {"model": "cheap"})).status_code == 200
    assert (await front.ask(b"", x_keyfuse_model="dear")).status_code == 403
    assert (await front.ask(CALL | {"model": "cheap"}, x_keyfuse_model="dear")).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status", "rule"),
    [
        ({"authorization": ""}, 401, "gate.no_key"),
        ({"authorization": "Bearer kfk_nobodyhaseverissuedthis"}, 401, "gate.unknown_keys"),
        ({"authorization": "Bearer sk-stranger"}, 200, None),
        ({"authorization": "", "x_api_key": "sk-stranger"}, 200, None),
        ({"authorization": "Bearer sk-number-one", "api_key": "sk-stranger"}, 401, "gate.no_key"),
        ({"x_envoy_auth_partial_body": "true"}, 403, "gate.body_too_large"),
    ],
)
async def test_who_calls(headers: dict[str, str], status: int, rule: str | None) -> None:
    answer = await Front().ask(**headers)
    assert (answer.status_code, answer.headers.get("x-keyfuse-rule")) == (status, rule)


async def test_a_call_that_the_gate_cannot_read_is_refused_not_waved_through() -> None:
    front = Front()
    assert (await front.ask(CALL | {"model": "m" * 513})).headers["x-keyfuse-rule"] == "gate.bad_question"
    assert (await front.ask(b" " * (MAX_BODY_BYTES + 1))).status_code in {403, 413}


async def test_nginx_is_answered_403_whatever_is_meant_for_it_knows_nothing_else() -> None:
    answer = await Front().ask(b"", x_keyfuse_as="nginx", authorization="")
    assert (answer.status_code, answer.headers["x-keyfuse-status"]) == (403, "401")
    assert json.loads(answer.headers["x-keyfuse-body"])["error"]["code"] == "keyfuse_deny"


async def test_a_proxy_without_the_gates_token_learns_nothing() -> None:
    front = Front(token="of-the-proxies")
    answer = await front.ask()
    assert (answer.status_code, answer.headers["x-keyfuse-rule"]) == (403, "gate.token_env")
    assert (await front.ask(x_keyfuse_token="of-the-proxies")).status_code == 200


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (b'{"model": "dear", "user": "\\ud800"}', "/v1/x"),
        (b'{"model": "dear", "max_tokens": 1' + b"0" * 40 + b"}", "/v1/x"),
        (b"{}", "//[bad/v1/x"),
    ],
    ids=["half a character", "a number without end", "no address"],
)  # fmt: skip
async def test_what_a_client_may_write_into_its_call_never_breaks_the_answer(body: bytes, path: str) -> None:
    answer = await Front().ask(body, path=path)
    assert answer.status_code in {200, 403}
    assert answer.status_code == 200 or answer.headers["x-keyfuse-rule"] == "gate.bad_question"


async def test_looking_is_no_call() -> None:
    front = Front(Gate(keys=(KEY,), rules=Rules(limits=(Rate("policy p: requests", "requests", 60, 1),))))
    looks = [(await front.ask(b"", method="GET", path="/v1/models")).status_code for _ in range(3)]
    assert looks == [200, 200, 200]
    assert (await front.ask(b"", x_original_method="GET", x_original_uri="/v1/models")).status_code == 200
    assert (await front.ask()).status_code == 200


async def test_what_a_call_reserved_is_given_back_when_its_usage_event_has_told_the_truth() -> None:
    front = Front(Gate(keys=(KEY,), rules=Rules(limits=(Rate("policy p: tokens", "tokens", 86_400, 30),))))
    assert [(await front.ask()).status_code for _ in range(2)] == [200, 429]
    front.tick_ms = HOLD_MS
    assert (await front.ask()).status_code == 200


async def test_the_clients_address_is_the_one_that_the_proxy_saw() -> None:
    asked: list[str] = []

    class Watching(Rules):
        def judge(self, call: Any, facts: Any, entry: Any) -> Any:
            asked.append(call.ip)
            return super().judge(call, facts, entry)

    front = Front(Gate(keys=(KEY,), rules=Watching()))
    for headers in (
        {"x_real_ip": "192.0.2.1", "x_forwarded_for": "203.0.113.9"},
        {"x_forwarded_for": "203.0.113.9, 192.0.2.2"},
        {"x_forwarded_for": "rubbish"},
    ):
        await front.ask(**headers)
    assert asked == ["192.0.2.1", "192.0.2.2", ""]
