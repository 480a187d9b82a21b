"""`POST /v1/leaks` for whoever has found a key, and `POST /v1/leaks/github` for GitHub's secret scanning.

202 (to GitHub: 200 with its feedback list) is said only after the broker has the findings and the audit. A report that
comes again changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import APIRouter, Header, Request
from fastapi.responses import JSONResponse
from pydantic import SecretStr

from sources.github_keys import GithubKeys, KeysUnavailable
from sources.http_answers import authorised, bad_request, not_published, problem, unauthorised
from sources.http_body import BodyRefused, read_body
from sources.leaks import LeakDesk, Taken, Via

Publish = Callable[[Taken], Awaitable[None]]
Counted = Callable[[Via, str, int], None]


class LeakIntake:
    """Reads, takes and publishes a body; what both routes have in common."""

    def __init__(self, desk: LeakDesk, publish: Publish, *, max_body_bytes: int, counted: Counted) -> None:
        self._desk, self._publish = desk, publish
        self._max_body_bytes, self.counted = max_body_bytes, counted

    async def body(self, request: Request) -> bytes | JSONResponse:
        try:
            return await read_body(request, self._max_body_bytes)
        except BodyRefused as refused:
            return problem(refused.status, refused.detail)

    async def take(self, body: bytes, via: Via, *, trusted: bool) -> Taken | JSONResponse:
        """What was taken, once the broker has it; else the answer that says why not."""
        # In a thread, for it asks the store.
        taken = await asyncio.to_thread(self._desk.take, body, via=via, trusted=trusted)
        if isinstance(taken, list):
            self.counted(via, "refused", len(taken))
            return bad_request(taken)
        refused = await not_published(self._publish(taken))
        if refused is not None:
            self.counted(via, "not_taken", len(taken.answers))
            return refused
        for standing in taken.standings:
            self.counted(via, standing, 1)
        if taken.refused:
            self.counted(via, "refused", taken.refused)
        return taken


def create_leaks(intake: LeakIntake, *, token: SecretStr, trusted: bool, github: GithubKeys | None) -> APIRouter:
    """Both routes; GitHub's only with its keys. ValueError for an empty token.

    `trusted`: a report with the token is proved.
    """
    expected = token.get_secret_value().encode()
    if not expected:
        raise ValueError("leak reports need a token")
    router = APIRouter()

    @router.post("/v1/leaks")
    async def leaks(request: Request, authorization: Annotated[str, Header()] = "") -> JSONResponse:
        if not authorised(authorization, expected):
            intake.counted("api", "unauthorised", 1)
            return unauthorised()
        body = await intake.body(request)
        taken = body if isinstance(body, JSONResponse) else await intake.take(body, "api", trusted=trusted)
        if isinstance(taken, JSONResponse):
            return taken
        return JSONResponse({"accepted": len(taken.answers), "reports": taken.answers}, status_code=202)

    if github is not None:
        router.include_router(_for_github(intake, github))
    return router


def _for_github(intake: LeakIntake, keys: GithubKeys) -> APIRouter:
    router = APIRouter()

    @router.post("/v1/leaks/github")
    async def github(
        request: Request,
        github_public_key_identifier: Annotated[str, Header()] = "",
        github_public_key_signature: Annotated[str, Header()] = "",
    ) -> JSONResponse:
        if "content-encoding" in request.headers:
            return problem(415, "what is signed is the body as it is sent: no Content-Encoding")
        body = await intake.body(request)
        if isinstance(body, JSONResponse):
            return body
        try:
            signed = await keys.signed(github_public_key_identifier, github_public_key_signature, body)
        except KeysUnavailable:
            intake.counted("github", "not_taken", 1)
            detail = "GitHub's public keys cannot be had now: send again later"
            return problem(503, detail, headers={"Retry-After": "60"})
        if not signed:
            intake.counted("github", "unauthorised", 1)
            return problem(401, "not signed with one of GitHub's public keys for secret scanning")
        taken = await intake.take(body, "github", trusted=True)
        return taken if isinstance(taken, JSONResponse) else JSONResponse(taken.feedback)

    return router
