"""Slack's way back, wired: one desk for each Slack app, over Socket Mode beside notify or `POST /v1/slack` beside http.

Several channels of one app share its connection.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Final, Literal, NamedTuple

import structlog
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import SecretStr

from alerting.answers.slack_calls import SlackCalls
from alerting.answers.slack_desk import SlackDesk
from alerting.answers.slack_signed import Outside, SlackDoor, said_in
from alerting.answers.slack_socket import SlackSocket
from alerting.answers.slack_work import SlackWork
from alerting.channels.slack_client import SlackApi
from schemas.config.routes import ChannelConfig
from service.edges import Edges
from service.install import Install, wall_ms
from service.question_desk import Desks
from service.secrets import resolve
from service.slack_knowledge import knowledge
from sources.http_body import BodyRefused, read_body

Listen = Callable[[], Awaitable[None]]
PATH: Final = "/v1/slack"
_TYPES: Final = frozenset({"application/x-www-form-urlencoded", "application/json"})
_MAX_BODY_BYTES: Final = 1_048_576
log = structlog.get_logger()


class App(NamedTuple):
    """One Slack app, by the first of its channels."""

    channel: str
    config: ChannelConfig
    bot: SecretStr
    proof: SecretStr  # the app token, or the signing secret


def slack_apps(install: Install, way: Literal["socket", "http"]) -> list[App]:
    """The apps that are answered this way. SecretMissing where a secret that is named is not there."""
    found: dict[str, App] = {}
    for name, config in install.folder.routes.channels.items():
        own = config.slack
        if config.kind != "slack" or own.way != way:
            continue
        env, file, what = (
            (own.app_token_env, own.app_token_file, "app token")
            if way == "socket"
            else (own.signing_secret_env, own.signing_secret_file, "signing secret")
        )
        proof = resolve(env, file, environ=install.environ, what=f"{what} of channel {name}")
        bot = resolve(config.secret_env, config.secret_file, environ=install.environ, what=f"channel {name}")
        if proof is not None and bot is not None:
            found.setdefault(proof.get_secret_value(), App(name, config, bot, proof))
    return list(found.values())


def slack_sockets(edges: Edges, desks: Desks, _: Callable[[], bool]) -> Iterator[tuple[str, Listen]]:
    """A loop for each app in Socket Mode; it ends when it is cancelled."""
    for app in slack_apps(edges.install, "socket"):
        yield f"slack {app.channel}", partial(_listen, edges, desks, app)


async def _listen(edges: Edges, desks: Desks, app: App) -> None:
    line, calling = SlackApi(app.channel, app.config, app.bot), SlackApi(app.channel, app.config, app.bot)
    slack = _desk(edges, desks, calling)
    progress = edges.health.stage(f"slack {app.channel}", time.monotonic())

    def tell(connected: bool, why: str) -> None:
        edges.metrics.set("keyfuse_slack_connected", int(connected), channel=app.channel)
        progress.waiting = "" if connected else f"not connected: {why}"
        if connected:
            progress.committed(time.monotonic())
            log.info("connected to Slack", channel=app.channel)

    tell(False, "just starting")
    try:
        await SlackSocket(line, app.proof, slack.take, sleep=asyncio.sleep, now_s=time.monotonic, tell=tell).run()
    finally:
        await slack.close()
        await calling.close()
        await line.close()


def slack_routes(edges: Edges, desks: Desks) -> Iterator[APIRouter]:
    """`POST /v1/slack`, where an app is answered over HTTP."""
    doors = []
    for app in slack_apps(edges.install, "http"):
        api = SlackApi(app.channel, app.config, app.bot)
        slack = _desk(edges, desks, api)
        doors.append((SlackDoor(app.proof, now_ms=wall_ms), slack))
        edges.closing += [api.close, slack.close]
    if doors:
        yield slack_router(doors, turned_away=partial(_count, edges))


def slack_router(doors: list[tuple[SlackDoor, SlackDesk]], *, turned_away: Callable[[str], None]) -> APIRouter:
    """Thin: read, check, acknowledge; the work goes on by itself, for Slack waits three seconds."""
    router = APIRouter()

    @router.post(PATH)
    async def called(request: Request) -> Response:
        try:
            body = await read_body(request, _MAX_BODY_BYTES, types=_TYPES)
        except BodyRefused as refused:
            return _problem(refused.status, refused.detail)
        why: Outside | None = None
        for door, slack in doors:
            why = door.why_not(body, request.headers)
            if why is None:
                return _answer(slack, body, request.headers.get("content-type", ""))
        assert why is not None  # noqa: S101 - there is a door
        turned_away(why.result)  # and no line in the log: whoever finds the address could fill it
        return _problem(401, why.words)

    return router


def _answer(slack: SlackDesk, body: bytes, content_type: str) -> Response:
    try:
        doc = said_in(body, content_type)
    except ValueError:
        return _problem(400, "neither a payload nor a command")
    if isinstance(doc, dict) and doc.get("type") == "url_verification":
        return JSONResponse({"challenge": str(doc.get("challenge", ""))[:200]})
    if isinstance(doc, dict) and doc.get("ssl_check"):
        return Response()
    taken, ack = slack.take(doc)
    if not taken:
        return _problem(503, "too much at once: try again")
    return JSONResponse(ack) if ack else Response()


def _desk(edges: Edges, desks: Desks, api: SlackApi) -> SlackDesk:
    work = SlackWork(
        desks.incidents, desks.questions, SlackCalls(api, sleep=asyncio.sleep),
        knowledge(edges.install, desks.incidents.incidents), now_ms=wall_ms, sleep=asyncio.sleep,
        counted=partial(_count, edges),
    )  # fmt: skip
    return SlackDesk(work, people=lambda: desks.incidents.people().of_slack, now_ms=wall_ms)


def _count(edges: Edges, result: str) -> None:
    edges.metrics.inc("keyfuse_answers_total", via="slack", result=result)


def _problem(status: int, detail: str) -> JSONResponse:
    return JSONResponse({"detail": detail}, status_code=status)
