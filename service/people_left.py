"""The HR system's route put together, where keyfuse.yaml names its secret."""

from __future__ import annotations

from collections.abc import Iterator

from fastapi import APIRouter

from schemas.life import PersonLeft
from service.edges import Edges
from service.errors import UserError
from service.install import wall_ms
from service.secrets import resolve
from sources.people_left import Hook, create_people_left
from streams.publish import RecordPublisher
from streams.topics import Topic


def people_left_routes(edges: Edges) -> Iterator[APIRouter]:
    """None while no secret is named. SecretMissing when one is and it is not there."""
    install, publish = edges.install, RecordPublisher(edges.outbox)
    settings = install.folder.wiring.people_left
    secret = resolve(settings.secret_env, settings.secret_file, environ=install.environ, what="people_left")
    if secret is None:
        return

    async def send(message: PersonLeft) -> None:
        await publish((Topic.KEY_ASKS, [(message.request_id, message)]))

    def counted(result: str) -> None:
        edges.metrics.inc("keyfuse_answers_total", via="api", result=result)

    def owned(person: str) -> int:
        return sum(entry.owner.lower() == person.lower() for entry in install.registry.entries().values())

    hook = Hook(secret, lambda: install.people, owned, send, wall_ms, counted)
    try:
        yield create_people_left(hook)
    except ValueError as error:
        raise UserError(str(error)) from error
