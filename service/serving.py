"""What a worker serves over HTTP: intake, keys, leaks and people who left; without those, how it fares."""

from __future__ import annotations

import time

from fastapi import APIRouter

from service.edges import Edges
from service.errors import UserError
from service.http_app import create_app
from service.key_http import keys_router
from service.late_store import LateStore
from service.leaks import leaks_router
from service.local_server import LocalServer
from service.people_left import people_left_routes
from service.query_commands import StoreAnswers
from sources.acceptance import Acceptor
from sources.http_intake import create_intake
from sources.room import Room
from streams.publish import Publisher
from streams.topics import Topic


def routes(edges: Edges, store: LateStore) -> list[APIRouter]:
    """Of the role `http`."""
    return [_intake(edges), leaks_router(edges, store), keys_router(edges), *people_left_routes(edges)]


def _intake(edges: Edges) -> APIRouter:
    install = edges.install
    future_s = install.folder.detectors.time.max_future_s
    acceptor = Acceptor(fingerprinter=install.fingerprinter(), max_future_s=future_s)
    sizes = install.folder.wiring.intake
    room = Room(
        sizes.max_in_flight_bytes, changed=lambda held: edges.metrics.set("keyfuse_intake_in_flight_bytes", held)
    )
    return create_intake(
        publish=Publisher(edges.producer, install.topics.name(Topic.RAW)), acceptor=acceptor,
        token=install.intake_token(), max_body_bytes=sizes.max_body_bytes, now_ms=edges.now_ms, room=room,
        answered=lambda status: edges.metrics.inc("keyfuse_intake_requests_total", code=str(status)),
    )  # fmt: skip


async def serve(edges: Edges, routers: list[APIRouter], store: LateStore | None) -> str:
    """Until the worker stops; gives the URL. Where: as `intake` says, without routers as `health` does."""
    wiring = edges.install.folder.wiring
    where = wiring.intake if routers else wiring.health
    app = create_app(
        routers=routers, health=edges.health, metrics=edges.metrics, monotonic_s=time.monotonic,
        token=edges.install.query_token() if routers else None, answers=StoreAnswers(store) if store else None,
    )  # fmt: skip
    server = LocalServer(app, host=where.host, port=where.port)
    try:
        url = await server.start()
    except OSError as error:
        raise UserError(f"{error}: is another `keyfuse` running there? Set another port in keyfuse.yaml") from error
    edges.closing.append(server.stop)
    return url
