"""The HTTP face of a worker: health tells of progress, and what the screens read needs the token."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from schemas.records import IncidentState
from service.http_app import create_app
from service.local_server import LocalServer
from streams.health import Health
from streams.metrics import Metrics

TOKEN = {"authorization": "Bearer let-me-in"}


class Stored:
    """Answers with what it was asked."""

    def keys(self, hours: float, limit: int = 1000) -> list[dict[str, Any]]:
        return [{"hours": hours, "limit": limit}]

    def incidents(self, state: IncidentState | None = None, limit: int = 100) -> list[dict[str, Any]]:
        return [{"state": state, "limit": limit}]

    def planes(self) -> dict[str, Any]:
        return {}

    def trial(self, from_ms: int, until_ms: int) -> dict[str, list[dict[str, Any]]]:
        return {"live": [{"from_ms": from_ms}], "shadow": [{"until_ms": until_ms}], "started": []}

    def audit(self, from_ms: int | None = None, until_ms: int | None = None, *, whole: bool = False) -> dict[str, Any]:
        return {"from_ms": from_ms, "until_ms": until_ms, "whole": whole}

    def evidence(self, incident_id: str, before_ms: int) -> dict[str, Any] | None:
        return {"incident_id": incident_id, "before_ms": before_ms} if incident_id == "inc_1" else None


def an_app(health: Health | None = None, **changed: Any) -> FastAPI:
    given: dict[str, Any] = {"routers": (), "token": SecretStr("let-me-in"), "answers": Stored()}
    return create_app(
        health=health or Health(), metrics=Metrics(), monotonic_s=lambda: 100.0, **(given | changed)
    )  # fmt: skip


async def get(app: FastAPI, path: str, headers: dict[str, str] | None = None) -> httpx.Response:
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://keyfuse") as client:
        return await client.get(path, headers=headers or {})


async def test_a_worker_that_has_not_started_is_not_ready() -> None:
    health = Health()
    assert (await get(an_app(health), "/readyz")).status_code == 503
    health.ready = True
    answer = await get(an_app(health), "/readyz")
    assert (answer.status_code, answer.json()) == (200, {"ready": True, "problems": []})


async def test_a_stage_that_stopped_is_told_with_its_reason() -> None:
    health = Health()
    health.ready = True
    health.stage("ingest", 99.0).failed = "too many bad records"
    for path in ("/healthz", "/readyz"):
        answer = await get(an_app(health), path)
        assert answer.status_code == 503
        assert "too many bad records" in answer.text


async def test_health_shows_in_the_metrics() -> None:
    health = Health()
    health.stage("score", 90.0).committed(95.0)
    app = an_app(health)
    await get(app, "/healthz")
    answer = await get(app, "/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert 'keyfuse_stage_last_commit_age_seconds{stage="score"} 5.0' in answer.text


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer wrong"}, {"authorization": "let-me-in-too"}])
@pytest.mark.parametrize("path", ["/v1/keys", "/v1/incidents", "/v1/trial", "/v1/audit", "/v1/evidence"])
async def test_reading_needs_the_token(path: str, headers: dict[str, str]) -> None:
    answer = await get(an_app(), path, headers)
    assert answer.status_code == 401
    assert "let-me-in" not in answer.text


async def test_what_is_asked_reaches_the_store() -> None:
    assert (await get(an_app(), "/v1/keys?hours=2.5&limit=7", TOKEN)).json() == [{"hours": 2.5, "limit": 7}]
    trial = (await get(an_app(), "/v1/trial?from_ms=5&until_ms=9", TOKEN)).json()
    assert trial == {"live": [{"from_ms": 5}], "shadow": [{"until_ms": 9}], "started": []}
    audit = (await get(an_app(), "/v1/audit?from_ms=5&whole=true", TOKEN)).json()
    assert audit == {"from_ms": 5, "until_ms": None, "whole": True}
    evidence = await get(an_app(), "/v1/evidence?incident_id=inc_1&before_ms=9", TOKEN)
    assert evidence.json() == {"incident_id": "inc_1", "before_ms": 9}
    assert (await get(an_app(), "/v1/evidence?incident_id=inc_2&before_ms=9", TOKEN)).json() is None
    assert (await get(an_app(), "/v1/incidents?state=open", TOKEN)).json() == [{"state": "open", "limit": 100}]
    assert (await get(an_app(), "/v1/incidents", TOKEN)).json() == [{"state": None, "limit": 100}]


@pytest.mark.parametrize(
    "path", ["/v1/keys?hours=nan", "/v1/keys?hours=-1", "/v1/keys?hours=1e300", "/v1/incidents?state=shut",
             "/v1/incidents?limit=0", "/v1/incidents?limit=x"],
)  # fmt: skip
async def test_a_question_that_makes_no_sense_is_refused(path: str) -> None:
    assert (await get(an_app(), path, TOKEN)).status_code == 422


@pytest.mark.parametrize("changed", [{"answers": None}, {"token": None}])
async def test_without_store_or_token_there_is_nothing_to_read(changed: dict[str, Any]) -> None:
    assert (await get(an_app(**changed), "/v1/keys", TOKEN)).status_code == 404


@pytest.mark.parametrize("path", ["/docs", "/openapi.json", "/redoc"])
async def test_there_are_no_pages_about_the_api_itself(path: str) -> None:
    assert (await get(an_app(), path)).status_code == 404


async def test_an_address_in_use_is_an_error_and_a_stopped_server_frees_it() -> None:
    first = LocalServer(an_app())
    url = httpx.URL(await first.start())
    with pytest.raises(OSError, match="cannot listen on"):
        await LocalServer(an_app(), port=url.port or 0).start()
    await first.stop()
    again = LocalServer(an_app(), port=url.port or 0)
    assert await again.start() == str(url)
    await again.stop()


def test_an_idle_connection_is_given_up_by_its_sender_first() -> None:
    """Else it is closed now and then just when a request is on its way."""
    assert LocalServer(an_app()).config.timeout_keep_alive > 60 > (httpx.Limits().keepalive_expiry or 0)
