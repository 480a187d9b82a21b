"""Leak reports put together: the desk that takes them, and its routes in a worker that speaks HTTP."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog
from fastapi import APIRouter

from schemas.records import KeyFacts, Record
from service.edges import Edges
from service.install import Install, wall_ms
from service.secrets import resolve
from sources.github_keys import GithubKeys, from_address, from_file
from sources.leak_http import LeakIntake, create_leaks
from sources.leaks import LeakDesk, Taken, Used, Via
from storage.errors import StoreError
from storage.store import Store
from streams.publish import RecordPublisher
from streams.topics import Topic

log = structlog.get_logger()


def leaks_router(edges: Edges, store: Callable[[], Store]) -> APIRouter:
    """`POST /v1/leaks` and, where it is switched on, GitHub's webhook."""
    install, publish, metrics = edges.install, RecordPublisher(edges.outbox), edges.metrics

    async def publish_taken(taken: Taken) -> None:
        await publish(*records_of(taken))
        for finding in taken.findings:
            metrics.inc("keyfuse_findings_total", family=finding.family, severity=finding.severity)

    def counted(via: Via, result: str, number: int) -> None:
        metrics.inc("keyfuse_leak_reports_total", number, via=via, result=result)

    intake = LeakIntake(
        desk_of(install, used_by(store)), publish_taken,
        max_body_bytes=install.folder.wiring.intake.max_body_bytes, counted=counted,
    )  # fmt: skip
    leaks = install.folder.wiring.leaks
    return create_leaks(intake, token=install.leaks_token(), trusted=leaks.trusted, github=_github_keys(install))


def desk_of(install: Install, used: Used) -> LeakDesk:
    """The desk of an install; `keys.yaml` is asked as it stands then."""

    def registered(name: str) -> tuple[str, KeyFacts] | None:
        return install.registry.named(name)

    return LeakDesk(install.fingerprinter(), registered=registered, used=used, now_ms=wall_ms)


def records_of(taken: Taken) -> tuple[tuple[Topic, list[tuple[str, Record]]], ...]:
    """What goes where; first what people have to hear."""
    return (
        (Topic.FINDINGS, [(finding.key_id, finding) for finding in taken.findings]),
        (Topic.AUDIT, [(row.key_id, row) for row in taken.audit]),
    )


def used_by(store: Callable[[], Store]) -> Used:
    """Asks the archive; what it has not stored yet it does not know."""

    def used(names: Sequence[str]) -> dict[str, KeyFacts] | None:
        try:
            uses = store().uses_of(names)
        except StoreError as error:
            log.warning("nobody can say whether a leaked key is in use", why=str(error))
            return None
        return {use.key_id: KeyFacts(provider=use.provider, team=use.team, app=use.app, env=use.env) for use in uses}

    return used


def _github_keys(install: Install) -> GithubKeys | None:
    leaks = install.folder.wiring.leaks
    if not leaks.github:
        return None
    token = resolve(leaks.github_token_env, "", environ=install.environ, what="GitHub token")
    file = leaks.github_keys_file
    fetch = from_file(Path(file)) if file else from_address(leaks.github_keys_url, token)
    return GithubKeys(fetch, now_s=time.monotonic)
