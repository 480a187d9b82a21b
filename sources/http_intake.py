"""`POST /v1/events`: events over HTTP. Thin: read, check, publish, answer.

A request is taken whole or not at all: with one bad event nothing of it is published, and the answer names each bad
one. 202 is said only after the broker has acknowledged every event. After any other answer the same request may be
sent again: events that did get through are recognised by their `event_id`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Final

from fastapi import APIRouter, Header, Request
from fastapi.responses import JSONResponse
from pydantic import SecretStr

from sources.acceptance import Accepted, Acceptor, Refused
from sources.formats import NATIVE
from sources.http_answers import authorised, bad_request, not_published, problem, unauthorised
from sources.http_body import BodyRefused, expected_bytes, read_body
from sources.room import RETRY_AFTER_S, Full, Room

Message = tuple[bytes | None, bytes, str | None]  # key, value, name of the format
Publish = Callable[[Sequence[Message]], Awaitable[None]]

_OFF_LOOP_FROM_BYTES: Final = 65_536  # larger bodies are checked in a thread, so that others are answered meanwhile


def create_intake(
    *,
    publish: Publish,
    acceptor: Acceptor,
    token: SecretStr,
    max_body_bytes: int,
    now_ms: Callable[[], int],
    room: Room | None = None,
    answered: Callable[[int], None] = lambda _: None,
) -> APIRouter:
    """The route `POST /v1/events`. ValueError for an empty token: an open intake is a way to blind the detectors.

    `publish` returns when the broker has acknowledged all messages; it raises BrokerSlow (answered 429 with
    Retry-After) or BrokerDown (503). `?format=litellm` insists on a format; without it the shape decides.
    A request that finds no `room` is answered 429 before its body is read. `answered` is told each answer's status.
    """
    expected = token.get_secret_value().encode()
    if not expected:
        raise ValueError("the intake needs a token")
    held = room or Room(max_body_bytes)
    router = APIRouter()

    @router.post("/v1/events")
    async def events(
        request: Request,
        authorization: Annotated[str, Header()] = "",
        format: str | None = None,
    ) -> JSONResponse:
        answer = await take(request, authorization, format)
        answered(answer.status_code)
        return answer

    async def take(request: Request, authorization: str, forced: str | None) -> JSONResponse:
        if not authorised(authorization, expected):
            return unauthorised()
        try:
            with held.taken(expected_bytes(request, max_body_bytes)):
                return await take_body(request, forced)
        except Full:
            return problem(429, "too much at once: send again later", headers={"Retry-After": str(RETRY_AFTER_S)})

    async def take_body(request: Request, forced: str | None) -> JSONResponse:
        try:
            body = await read_body(request, max_body_bytes)
        except BodyRefused as refused:
            return problem(refused.status, refused.detail)
        outcome = await _check(acceptor, body, forced=forced, now_ms=now_ms())
        if isinstance(outcome, Refused):
            return bad_request(outcome.refusals)
        return await _publish(publish, outcome)

    return router


async def _check(acceptor: Acceptor, body: bytes, *, forced: str | None, now_ms: int) -> Accepted | Refused:
    if len(body) < _OFF_LOOP_FROM_BYTES:
        return acceptor.accept(body, forced=forced, now_ms=now_ms)
    return await asyncio.to_thread(acceptor.accept, body, forced=forced, now_ms=now_ms)


async def _publish(publish: Publish, accepted: Accepted) -> JSONResponse:
    if accepted.values:
        refused = await not_published(publish([(None, value, NATIVE) for value in accepted.values]))
        if refused is not None:
            return refused
    return JSONResponse({"accepted": accepted.events}, status_code=202)
