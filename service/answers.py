"""The desk of one worker: where it looks incidents up, who it knows, and where it sends what they say."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable
from functools import partial
from typing import Final, NamedTuple

from fastapi import APIRouter

from alerting.answers.desk import Desk
from alerting.answers.errors import Unavailable
from schemas.records import Incident, Request, Step
from service.edges import Edges
from service.install import Install
from service.pagerduty_webhook import pagerduty_routes
from service.question_desk import Desks, open_questions, send
from service.slack_answers import slack_routes, slack_sockets
from storage.errors import StoreError
from storage.store import Store
from streams.decide_core import offers
from streams.incident_view import LOOK_BACK_MS, IncidentView, follow_incidents
from streams.orders import word_row
from streams.topics import Topic

Listen = Callable[[], Awaitable[None]]
_PATIENCE_S: Final = 2.0  # for each: PagerDuty waits for 5 s in all
_FILLING_S: Final = 0.5


def open_desk(edges: Edges, store: Callable[[], Store] | None, stopping: Callable[[], bool]) -> tuple[Desk, Listen]:
    """The desk, and the loop that keeps its view current. `store` is asked for what the view no longer has."""
    install, view = edges.install, IncidentView()
    topics = install.topics

    async def follow() -> None:
        await follow_incidents(
            edges.bootstrap, topics.name(Topic.INCIDENTS), topics.count(Topic.INCIDENTS), view=view,
            since_ms=edges.now_ms() - LOOK_BACK_MS, stopping=stopping,
        )  # fmt: skip

    async def refused(request: Request, why: str) -> None:
        await send(edges, Topic.AUDIT, request.key_id, word_row(request, "refused", why))

    desk = Desk(
        people=lambda: install.people, incidents=view, now_ms=edges.now_ms,
        send=lambda request: send(edges, Topic.REQUESTS, request.key_id, request), refused=refused,
        older=lambda incident_id: older(incident_id, view, store), for_good=partial(for_good, install),
    )  # fmt: skip
    return desk, follow


def for_good(install: Install, incident: Incident, step: Step) -> bool:
    """Whether the step cannot be undone for this key: a provider of your own may have such steps besides `revoke`."""
    spec = offers(install.offered())(incident.key_id, incident.facts).get(step)
    return step == "revoke" if spec is None else not spec.reversible


class WaysBack(NamedTuple):
    """What a worker runs so that people can answer."""

    routers: list[APIRouter]
    loops: dict[str, Listen]  # by name


def ways_back(
    edges: Edges, store: Callable[[], Store] | None, roles: Collection[str], stopping: Callable[[], bool]
) -> WaysBack:
    """All that `routes.yaml` asks for: signed calls come in at `http`, connections of our own stand beside `notify`.

    Where it asks for nothing nothing runs, and no right to read incidents and questions or to write requests is needed.
    """
    desk, follow = open_desk(edges, store, stopping)
    questions, follow_questions = open_questions(edges, stopping)
    desks = Desks(desk, questions)
    routers = [each for build in _ROUTERS for each in build(edges, desks)] if "http" in roles else []
    listeners = [each for build in _LISTENERS for each in build(edges, desks, stopping)] if "notify" in roles else []
    following = {"incidents": follow} if routers or listeners else {}
    if following and any(channel.slack.way != "none" for channel in edges.install.folder.routes.channels.values()):
        following["questions"] = follow_questions
    return WaysBack(routers, following | dict(listeners))


async def older(
    incident_id: str, view: IncidentView, store: Callable[[], Store] | None, *, filling_s: float = _FILLING_S
) -> Incident | None:
    """From the view once it is filled, else from the store. Unavailable when neither can say that there is none."""
    try:
        async with asyncio.timeout(filling_s):
            await view.filled.wait()
    except TimeoutError as error:
        if store is None:
            raise Unavailable("the incidents of the last week are still being read") from error
    known = view.get(incident_id)
    if known is not None or store is None:
        return known
    try:
        async with asyncio.timeout(_PATIENCE_S):
            return await asyncio.to_thread(lambda: store().incident(incident_id))
    except (TimeoutError, StoreError) as error:
        raise Unavailable("the store does not answer") from error


_ROUTERS: Final[tuple[Callable[[Edges, Desks], Iterable[APIRouter]], ...]] = (pagerduty_routes, slack_routes)
_LISTENERS: Final[tuple[Callable[[Edges, Desks, Callable[[], bool]], Iterable[tuple[str, Listen]]], ...]] = (
    slack_sockets,
)
"""Each way to answer has an entry in one of the two; `build` gives nothing where `routes.yaml` asks for nothing."""
