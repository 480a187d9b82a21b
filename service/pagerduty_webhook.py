"""`POST /v1/pagerduty`: where PagerDuty's webhook subscriptions call. Thin: read, check, pass on, answer."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import SecretStr

from alerting.answers.pagerduty import PagerDutyWebhook
from service.edges import Edges
from service.install import Install, wall_ms
from service.question_desk import Desks
from service.secrets import resolve
from sources.http_body import BodyRefused, read_body

PATH: Final = "/v1/pagerduty"
_MAX_BODY_BYTES: Final = 262_144  # PagerDuty sends nothing larger


def pagerduty_routes(edges: Edges, desks: Desks) -> list[APIRouter]:
    """None while no channel names the secret of a webhook. SecretMissing when one does and it is not there."""
    secrets = webhook_secrets(edges.install)
    if not secrets:
        return []
    webhook, router = PagerDutyWebhook(secrets, desks.incidents, now_ms=wall_ms), APIRouter()

    @router.post(PATH)
    async def called(request: Request) -> JSONResponse:
        try:
            body = await read_body(request, _MAX_BODY_BYTES)
        except BodyRefused as refused:
            edges.metrics.inc("keyfuse_answers_total", via="pagerduty", result="not_understood")
            return JSONResponse({"detail": refused.detail}, status_code=refused.status)
        reply = await webhook.take(body, request.headers.get("x-pagerduty-signature", ""))
        edges.metrics.inc("keyfuse_answers_total", via="pagerduty", result=reply.result)
        return JSONResponse({"detail": reply.words}, status_code=reply.status)

    return [router]


def webhook_secrets(install: Install) -> dict[str, SecretStr]:
    """By channel, of those that have one."""
    found = {}
    for name, config in install.folder.routes.channels.items():
        if config.kind == "pagerduty":
            own, what = config.pagerduty, f"webhook of channel {name}"
            secret = resolve(own.webhook_secret_env, own.webhook_secret_file, environ=install.environ, what=what)
            if secret is not None:
                found[name] = secret
    return found
