"""What stands behind the gate in these tests: a server that answers like OpenAI's, and notes what reached it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.containment.servers.serve import Faulty, serving

USAGE: Final = {
    "prompt_tokens": 11, "completion_tokens": 5, "total_tokens": 16,
    "prompt_tokens_details": {"cached_tokens": 4}, "completion_tokens_details": {"reasoning_tokens": 2},
}  # fmt: skip
WORDS: Final = ("one", "two", "three")


@dataclass
class Upstream:
    """A provider. `broken`: it answers 500; `long`: its streams are longer than anybody wants to hear."""

    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    broken: bool = False
    long: bool = False
    url: str = ""

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/v1/chat/completions", self._chat, methods=["POST"]),
                Route("/v1/embeddings", self._embed, methods=["POST"]),
                Route("/v1/models", self._models),
            ]
        )

    async def _chat(self, request: Request) -> Response:
        asked = await self._note(request)
        if self.broken:
            return JSONResponse({"error": {"message": "broken"}}, 500)
        if asked.get("stream"):
            told = bool((asked.get("stream_options") or {}).get("include_usage"))
            words = WORDS * 100 if self.long else WORDS
            return StreamingResponse(_pieces(asked["model"], words, usage=told), media_type="text/event-stream")
        choice = {"index": 0, "message": {"role": "assistant", "content": " ".join(WORDS)}, "finish_reason": "stop"}
        return JSONResponse(_object("chat.completion", asked["model"], choices=[choice], usage=USAGE))

    async def _embed(self, request: Request) -> Response:
        asked = await self._note(request)
        one = {"object": "embedding", "index": 0, "embedding": [0.5]}
        usage = {"prompt_tokens": 3, "total_tokens": 3}
        return JSONResponse({"object": "list", "data": [one], "model": asked["model"], "usage": usage})

    async def _models(self, request: Request) -> Response:
        return JSONResponse({"object": "list", "data": []})

    async def _note(self, request: Request) -> dict[str, Any]:
        asked: dict[str, Any] = await request.json()
        self.bodies.append(asked)
        self.headers.append(dict(request.headers))
        return asked


def _object(kind: str, model: str, **more: Any) -> dict[str, Any]:
    return {"id": "chatcmpl-1", "object": kind, "created": 1, "model": model, **more}


async def _pieces(model: str, words: Iterable[str], *, usage: bool) -> AsyncIterator[bytes]:
    for word in words:
        await asyncio.sleep(0.01)  # as a provider does, who thinks
        choice = {"index": 0, "delta": {"role": "assistant", "content": word}, "finish_reason": None}
        yield _line(_object("chat.completion.chunk", model, choices=[choice]))
    if usage:
        yield _line(_object("chat.completion.chunk", model, choices=[], usage=USAGE))
    yield b"data: [DONE]\n\n"


def _line(piece: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(piece).encode() + b"\n\n"


@asynccontextmanager
async def upstream() -> AsyncIterator[Upstream]:
    made = Upstream()
    async with serving(Faulty(made.app())) as made.url:
        yield made
