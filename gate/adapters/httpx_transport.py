"""An httpx transport that asks the gate before each call and settles after, for people without a gateway.

    OpenAI(http_client=httpx.Client(transport=KeyfuseTransport()))
    AsyncOpenAI(http_client=httpx.AsyncClient(transport=AsyncKeyfuseTransport()))

It serves httpx and httpx2 alike: it answers in the library that it is asked in. A refused call never leaves the
process; the client sees 401, 403 or 429 with the gate's words.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final, Self, TypeAlias

from gate.adapters.asking import AsyncGate, Gate
from gate.adapters.outbox import Outbox
from gate.adapters.question import json_of, key_of, question_of
from gate.adapters.settings import Settings, settings_from
from gate.adapters.watch import Watch
from gate.adapters.wire import Answer, headers_of, refusal

Theirs: TypeAlias = Any  # a class of httpx or of httpx2: the same, twice
_READS: Final = frozenset({"GET", "HEAD", "OPTIONS", "DELETE"})


class _Transport:
    """What both have: questions from requests, answers to responses."""

    def __init__(self, transport: Theirs, settings: Settings | None, outbox: Outbox | None) -> None:
        self._settings = settings or settings_from(os.environ)
        self._inner = transport
        self.outbox = outbox or Outbox(self._settings)

    def _question(self, request: Theirs) -> dict[str, Any]:
        """A call without a key, or with two, is asked about under a name that says so."""
        headers = {name.lower(): value for name, value in request.headers.items()}
        question = question_of(json_of(request.content), headers, endpoint=request.url.path)
        key = key_of(headers)
        who = {"key_id": "client:anonymous"} if isinstance(key, Answer) else {"key": key}
        return question | who | ({"requests": 0} if request.method in _READS else {})

    def _watch(self, question: dict[str, Any], answer: Answer) -> Watch:
        return Watch(question, answer, outbox=self.outbox, settings=self._settings, now_s=time.time)  # noqa: TID251 - the edge

    def _refused(self, request: Theirs, answer: Answer, watch: Watch) -> Theirs:
        watch.refused()
        return _library(request).Response(
            answer.status, headers=headers_of(answer), json=refusal(answer), request=request
        )

    def _onward(self, request: Theirs, answer: Answer) -> Theirs:
        """The request as it goes on: with the cheaper model, and asking for an answer that can be read along."""
        headers = request.headers.copy()
        headers["accept-encoding"] = "identity"
        content = request.content
        if answer.state == "degrade":
            content = json.dumps(json_of(content) | {"model": answer.model}).encode()
            headers["content-length"] = str(len(content))
        return _library(request).Request(
            request.method, request.url, headers=headers, content=content, extensions=request.extensions
        )

    def _begun(self, response: Theirs, answer: Answer, watch: Watch) -> None:
        watch.began(response.status_code, {name.lower(): value for name, value in response.headers.items()})
        response.headers.update(headers_of(answer))


class KeyfuseTransport(_Transport):
    """For `Client`.

    Args:
        transport: What really carries the calls; by default the library's own.
        settings: Where the gate is; by default from the environment.
    """

    def __init__(
        self, transport: Theirs = None, *, settings: Settings | None = None, gate: Gate | None = None,
        outbox: Outbox | None = None,
    ) -> None:  # fmt: skip
        super().__init__(transport, settings, outbox)
        self._gate = gate or Gate(self._settings)

    def handle_request(self, request: Theirs) -> Theirs:
        request.read()
        question = self._question(request)
        answer = self._gate.ask(question)
        watch = self._watch(question, answer)
        if not answer.passes:
            return self._refused(request, answer, watch)
        if self._inner is None:
            self._inner = _library(request).HTTPTransport()
        try:
            response = self._inner.handle_request(self._onward(request, answer))
        except BaseException:
            watch.over()
            raise
        self._begun(response, answer, watch)
        response.stream = _stream(_library(request).SyncByteStream, _Watched)(response.stream, watch)
        return response

    def close(self) -> None:
        """Delivers what is not told yet."""
        if self._inner is not None:
            self._inner.close()
        self._gate.close()
        self.outbox.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncKeyfuseTransport(_Transport):
    """The same for `AsyncClient`."""

    def __init__(
        self, transport: Theirs = None, *, settings: Settings | None = None, gate: AsyncGate | None = None,
        outbox: Outbox | None = None,
    ) -> None:  # fmt: skip
        super().__init__(transport, settings, outbox)
        self._gate = gate or AsyncGate(self._settings)

    async def handle_async_request(self, request: Theirs) -> Theirs:
        await request.aread()
        question = self._question(request)
        answer = await self._gate.ask(question)
        watch = self._watch(question, answer)
        if not answer.passes:
            return self._refused(request, answer, watch)
        if self._inner is None:
            self._inner = _library(request).AsyncHTTPTransport()
        try:
            response = await self._inner.handle_async_request(self._onward(request, answer))
        except BaseException:
            watch.over()
            raise
        self._begun(response, answer, watch)
        response.stream = _stream(_library(request).AsyncByteStream, _AsyncWatched)(response.stream, watch)
        return response

    async def aclose(self) -> None:
        """Delivers what is not told yet."""
        if self._inner is not None:
            await self._inner.aclose()
        await self._gate.close()
        await asyncio.to_thread(self.outbox.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


def _library(request: Theirs) -> Theirs:
    """Httpx or httpx2: whichever made the request."""
    return sys.modules[type(request).__module__.partition(".")[0]]


class _Watched:
    """A response's bytes on their way to the client."""

    def __init__(self, inner: Theirs, watch: Watch) -> None:
        self._inner, self._watch = inner, watch

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._inner:
            self._watch.feed(piece)
            yield piece
        self._watch.over()

    def close(self) -> None:
        self._watch.over()
        self._inner.close()


class _AsyncWatched:
    def __init__(self, inner: Theirs, watch: Watch) -> None:
        self._inner, self._watch = inner, watch

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._inner:
            self._watch.feed(piece)
            yield piece
        self._watch.over()

    async def aclose(self) -> None:
        self._watch.over()
        await self._inner.aclose()


def _stream(base: type, watched: type) -> type:
    """Each library insists on a stream of its own class."""
    return type(watched.__name__, (watched, base), {})
