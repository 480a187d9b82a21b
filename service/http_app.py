"""The HTTP face of a worker: health, metrics, what the screens read, and the routers of whoever else listens."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Callable, Iterable
from typing import Annotated, Any, Protocol

from fastapi import APIRouter, Depends, FastAPI, Header, HTTPException, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import SecretStr

from schemas.records import IncidentState
from service.costs_answer import Asked
from storage.errors import StoreError
from streams.health import Health
from streams.metrics import Metrics


class Answers(Protocol):
    """What the store is asked for."""

    def keys(self, hours: float, limit: int = 1000) -> list[dict[str, Any]]: ...

    def incidents(self, state: IncidentState | None = None, limit: int = 100) -> list[dict[str, Any]]: ...

    def planes(self) -> dict[str, Any]: ...

    def trial(self, from_ms: int, until_ms: int) -> dict[str, list[dict[str, Any]]]: ...

    def audit(
        self, from_ms: int | None = None, until_ms: int | None = None, *, whole: bool = False
    ) -> dict[str, Any]: ...

    def evidence(self, incident_id: str, before_ms: int) -> dict[str, Any] | None: ...

    def holds(self, incident_id: str = "") -> list[dict[str, Any]]: ...

    def rotations(self) -> list[dict[str, Any]]: ...

    def key_history(self, key_id: str) -> dict[str, list[dict[str, Any]]]: ...
    def costs(self, **asked: Any) -> dict[str, Any]: ...  # noqa: ANN401 - the fields of Asked


def create_app(
    *,
    routers: Iterable[APIRouter],
    health: Health,
    metrics: Metrics,
    monotonic_s: Callable[[], float],
    token: SecretStr | None,
    answers: Answers | None,
) -> FastAPI:
    """`/healthz` tells progress, not life; `/readyz` whether to send work here; `/metrics` for Prometheus."""
    app = FastAPI(title="Keyfuse", docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/healthz")
    async def healthz() -> JSONResponse:
        healthy, report = health.report(monotonic_s())
        for name, stage in health.stages.items():
            metrics.set("keyfuse_stage_lag_records", stage.lag_records, stage=name)
            metrics.set("keyfuse_stage_last_commit_age_seconds", stage.commit_age_s(monotonic_s()), stage=name)
        return JSONResponse(report, status_code=200 if healthy else 503)

    @app.get("/readyz")
    async def readyz() -> JSONResponse:
        healthy, report = health.report(monotonic_s())
        ready = health.ready and healthy
        return JSONResponse({"ready": ready, "problems": report["problems"]}, status_code=200 if ready else 503)

    @app.get("/metrics")
    async def prometheus() -> Response:
        return Response(metrics.render(), media_type="text/plain; version=0.0.4")

    @app.exception_handler(StoreError)
    async def store_away(_: Request, error: StoreError) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, status_code=503)

    for router in routers:
        app.include_router(router)
    if answers is not None and token is not None:
        app.include_router(_queries(answers, token))
    return app


def _queries(answers: Answers, token: SecretStr) -> APIRouter:
    def authorised(authorization: Annotated[str, Header()] = "") -> None:
        given = authorization.removeprefix("Bearer ").encode()
        if not hmac.compare_digest(given, token.get_secret_value().encode()):
            raise HTTPException(401, "wrong or missing bearer token")

    router = APIRouter(prefix="/v1", dependencies=[Depends(authorised)])

    @router.get("/keys")
    async def keys(
        hours: Annotated[float, Query(ge=0, le=1_000_000)] = 24, limit: Annotated[int, Query(ge=1, le=1_000_000)] = 1000
    ) -> list[dict[str, Any]]:
        return await asyncio.to_thread(answers.keys, hours, limit)

    @router.get("/incidents")
    async def incidents(
        state: IncidentState | None = None, limit: Annotated[int, Query(ge=1, le=10_000)] = 100
    ) -> list[dict[str, Any]]:
        return await asyncio.to_thread(answers.incidents, state, limit)

    @router.get("/planes")
    async def planes() -> dict[str, Any]:
        return await asyncio.to_thread(answers.planes)

    @router.get("/trial")
    async def trial(
        from_ms: Annotated[int, Query(ge=0)] = 0, until_ms: Annotated[int, Query(ge=0)] = 1 << 53
    ) -> dict[str, list[dict[str, Any]]]:
        return await asyncio.to_thread(answers.trial, from_ms, until_ms)

    _looking_back(router, answers)
    _costs(router, answers)
    return router


def _looking_back(router: APIRouter, answers: Answers) -> None:
    """What was, for those who were not there."""

    @router.get("/audit")
    async def audit(from_ms: int | None = None, until_ms: int | None = None, whole: bool = False) -> dict[str, Any]:
        return await asyncio.to_thread(answers.audit, from_ms, until_ms, whole=whole)

    @router.get("/evidence")
    async def evidence(incident_id: str, before_ms: Annotated[int, Query(ge=0)]) -> dict[str, Any] | None:
        return await asyncio.to_thread(answers.evidence, incident_id, before_ms)

    @router.get("/holds")
    async def holds(incident_id: str = "") -> list[dict[str, Any]]:
        return await asyncio.to_thread(answers.holds, incident_id)

    @router.get("/rotations")
    async def rotations() -> list[dict[str, Any]]:
        return await asyncio.to_thread(answers.rotations)

    @router.get("/key_history")
    async def key_history(key_id: str) -> dict[str, list[dict[str, Any]]]:
        return await asyncio.to_thread(answers.key_history, key_id)


def _costs(router: APIRouter, answers: Answers) -> None:
    """What it cost."""

    @router.get("/costs")
    async def costs(asked: Annotated[Asked, Query()]) -> dict[str, Any]:
        try:
            return await asyncio.to_thread(answers.costs, **asked.model_dump())
        except ValueError as error:
            raise HTTPException(422, str(error)) from error
