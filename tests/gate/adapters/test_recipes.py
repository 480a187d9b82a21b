"""What docs/gate.md shows of the adapters works as it stands there, and both libraries' clients are served."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import httpx2
import openai
import pytest
from fastapi import FastAPI
from starlette.types import Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from gate.adapters import settings as settings_module
from gate.adapters.asgi import KeyfuseMiddleware
from gate.adapters.httpx_transport import AsyncKeyfuseTransport, KeyfuseTransport
from tests.containment.servers.serve import Faulty, serving
from tests.gate.adapters.benches import CHAT, ROOT, settings
from tests.gate.adapters.fake_gate import FakeGate, fake_gate, key_id
from tests.gate.adapters.upstream import WORDS, Upstream, upstream

PAGE = (ROOT / "docs/gate.md").read_text(encoding="utf-8")
DENY = {"state": "deny", "rule": "verdict of incident i1", "reason": "stolen"}
SECRET = "sk-proj-number-one"


@pytest.fixture
async def gate() -> AsyncIterator[FakeGate]:
    async with fake_gate() as one:
        yield one


@pytest.fixture
async def behind() -> AsyncIterator[Upstream]:
    async with upstream() as one:
        yield one


def test_every_variable_has_a_row() -> None:
    read = set(re.findall(r'"(KEYFUSE_\w+)"', Path(settings_module.__file__).read_text(encoding="utf-8")))
    assert set(re.findall(r"`(KEYFUSE_\w+)`", PAGE)) == read


@pytest.mark.parametrize("name", ["KeyfuseMiddleware", "KeyfuseTransport"])
def test_the_code_on_the_page_runs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEYFUSE_GATE_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-nobody")
    (block,) = [block for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if name in block]
    made: dict[str, Any] = {}
    exec(block, made)
    if "client" in made:
        made["client"].close()
    else:
        assert isinstance(made["app"], FastAPI)


async def test_a_blocking_client_is_served_too(gate: FakeGate, behind: Upstream) -> None:
    def talk() -> list[str]:
        carried: Any = KeyfuseTransport(settings=settings(gate, "open"))
        with httpx2.Client(transport=carried) as http:
            client = openai.OpenAI(base_url=f"{behind.url}/v1", api_key=SECRET, max_retries=0, http_client=http)
            stream = client.chat.completions.create(model="dear", stream=True, **CHAT)
            pieces = [choice.delta.content or "" for piece in stream for choice in piece.choices]
            gate.says[key_id(SECRET)] = DENY
            with pytest.raises(openai.PermissionDeniedError, match="Keyfuse: stolen"):
                client.chat.completions.create(model="dear", **CHAT)
        return pieces

    assert await asyncio.to_thread(talk) == list(WORDS)
    (settled,) = gate.settled_of(SECRET)
    assert (settled["input_tokens"], settled["output_tokens"]) == (3, 3)  # no usage was told: counted by pieces
    assert [event["status"] for event in gate.told_of(SECRET)] == [200, 403]


async def test_httpx_itself_is_answered_in_its_own_classes(gate: FakeGate, behind: Upstream) -> None:
    carried: Any = AsyncKeyfuseTransport(settings=settings(gate, "open"))
    async with httpx.AsyncClient(transport=carried, headers={"authorization": f"Bearer {SECRET}"}) as http:
        url = f"{behind.url}/v1/chat/completions"
        answer = await http.post(url, json={"model": "dear", **CHAT})
        gate.says[key_id(SECRET)] = DENY
        refused = await http.post(url, json={"model": "dear", **CHAT})
    assert (answer.status_code, answer.json()["usage"]["prompt_tokens"]) == (200, 11)
    assert isinstance(refused, httpx.Response)
    assert (refused.status_code, refused.headers["x-keyfuse-rule"]) == (403, "verdict of incident i1")
    assert gate.settled_of(SECRET)[0]["input_tokens"] == 11


async def test_a_provider_that_breaks_off_is_told_and_nothing_is_left_reserved(gate: FakeGate) -> None:
    carried: Any = AsyncKeyfuseTransport(settings=settings(gate, "open"))
    async with httpx.AsyncClient(transport=carried, headers={"authorization": f"Bearer {SECRET}"}) as http:
        with pytest.raises(httpx.ConnectError):
            await http.post("http://127.0.0.1:1/v1/chat/completions", json={"model": "dear", **CHAT})
    assert gate.settled_of(SECRET)[0]["output_tokens"] == 0
    assert [event["status"] for event in gate.told_of(SECRET)] == [0]


class TestMiddleware:
    async def test_looking_is_asked_but_is_no_call_and_other_paths_are_nobodys_business(
        self, gate: FakeGate, behind: Upstream
    ) -> None:
        guarded = KeyfuseMiddleware(behind.app(), settings=settings(gate, "closed"))
        async with serving(Faulty(guarded)) as url, httpx.AsyncClient(base_url=url) as http:
            shown = {"authorization": f"Bearer {SECRET}"}
            assert (await http.get("/v1/models", headers=shown)).status_code == 200
            assert gate.asked[-1]["requests"] == 0
            assert (await http.get("/v1/models")).status_code == 401
            assert (await http.get("/healthz")).status_code == 404
        await guarded.close()
        assert len(gate.asked) == 1

    async def test_a_body_that_is_too_large_reaches_nobody(self, gate: FakeGate, behind: Upstream) -> None:
        guarded = KeyfuseMiddleware(behind.app(), settings=settings(gate, "open"), max_body_bytes=100)
        async with serving(Faulty(guarded)) as url, httpx.AsyncClient(base_url=url) as http:
            answer = await http.post("/v1/chat/completions", content=b"x" * 101)
        await guarded.close()
        assert (answer.status_code, gate.asked, behind.bodies) == (413, [], [])

    @pytest.mark.parametrize(("said", "sent"), [(DENY, "websocket.close"), (None, "websocket.accept")])
    async def test_a_websocket_is_asked_for_when_it_opens(self, gate: FakeGate, said: Any, sent: str) -> None:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await WebSocket(scope, receive, send).accept()

        async def receive() -> Message:
            return {"type": "websocket.connect"}

        got: list[Message] = []

        async def send(message: Message) -> None:
            got.append(message)

        if said:
            gate.says[key_id(SECRET)] = said
        guarded = KeyfuseMiddleware(app, settings=settings(gate, "open"))
        headers = [(b"authorization", f"Bearer {SECRET}".encode())]
        await guarded({"type": "websocket", "path": "/v1/realtime", "headers": headers}, receive, send)
        await guarded.close()
        assert [message["type"] for message in got] == [sent]
