"""`POST /v1/events`: events over HTTP. Thin: read, check, publish, answer.

A request is taken whole or not at all: with one bad event nothing of it is published, and the answer names each bad
one. 202 is said only after the broker has acknowledged every event. After any other answer the same request may be
sent again: events that did get through are recognised by their `event_id`.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Request
from fastapi.responses import JSONResponse
from pydantic import SecretStr

from schemas.records import DeadReason
from sources.acceptance import Accepted, Acceptor, Refused
from sources.envelope import Refusal
from sources.errors import BrokerDown, BrokerSlow
from sources.formats import NATIVE
from sources.http_body import BodyRefused, read_body

Message = tuple[bytes | None, bytes, str | None]  # key, value, name of the format
Publish = Callable[[Sequence[Message]], Awaitable[None]]

_SHOWN: Final = 20  # bad events named in one answer
_OFF_LOOP_FROM_BYTES: Final = 65_536  # larger bodies are checked in a thread, so that others are answered meanwhile
_TOO_MUCH: Final = frozenset({DeadReason.TOO_MANY_EVENTS, DeadReason.TOO_LARGE})


def create_intake(
    *,
    publish: Publish,
    acceptor: Acceptor,
    token: SecretStr,
    max_body_bytes: int,
    now_ms: Callable[[], int],
    answered: Callable[[int], None] = lambda _: None,
) -> APIRouter:
    """The route `POST /v1/events`. ValueError for an empty token: an open intake is a way to blind the detectors.

    `publish` returns when the broker has acknowledged all messages; it raises BrokerSlow (answered 429 with
    Retry-After) or BrokerDown (503). `?format=litellm` insists on a format; without it the shape decides.
    `answered` is told each answer's status.
    """
    expected = token.get_secret_value().encode()
    if not expected:
        raise ValueError("the intake needs a token")
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
        if not _authorised(authorization, expected):
            return _problem(401, "wrong or missing bearer token", headers={"WWW-Authenticate": "Bearer"})
        try:
            body = await read_body(request, max_body_bytes)
        except BodyRefused as refused:
            return _problem(refused.status, refused.detail)
        outcome = await _check(acceptor, body, forced=forced, now_ms=now_ms())
        if isinstance(outcome, Refused):
            return _bad_request(outcome)
        return await _publish(publish, outcome)

    return router


def _authorised(header: str, expected: bytes) -> bool:
    scheme, _, given = header.partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), expected)


async def _check(acceptor: Acceptor, body: bytes, *, forced: str | None, now_ms: int) -> Accepted | Refused:
    if len(body) < _OFF_LOOP_FROM_BYTES:
        return acceptor.accept(body, forced=forced, now_ms=now_ms)
    return await asyncio.to_thread(acceptor.accept, body, forced=forced, now_ms=now_ms)


async def _publish(publish: Publish, accepted: Accepted) -> JSONResponse:
    try:
        if accepted.values:
            await publish([(None, value, NATIVE) for value in accepted.values])
    except BrokerSlow as slow:
        return _problem(429, "the broker is slow: send again later", headers={"Retry-After": str(slow.retry_after_s)})
    except (BrokerDown, OSError):  # a lost connection or a timeout is an OSError
        return _problem(503, "the broker does not answer: send again later", headers={"Retry-After": "5"})
    return JSONResponse({"accepted": accepted.events}, status_code=202)


def _bad_request(refused: Refused) -> JSONResponse:
    refusals = refused.refusals
    status = 413 if refusals[0].reason in _TOO_MUCH else 400
    errors = [_shown(refusal) for refusal in refusals[:_SHOWN]]
    return JSONResponse({"accepted": 0, "bad": len(refusals), "errors": errors}, status_code=status)


def _shown(refusal: Refusal) -> dict[str, Any]:
    """`index` counts the events of the body from 0; -1 is the body as a whole."""
    return {
        "index": refusal.index,
        "field": refusal.field,
        "reason": refusal.reason.value,
        "detail": refusal.detail,
    }


def _problem(status: int, detail: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"accepted": 0, "detail": detail}, status_code=status, headers=headers)
