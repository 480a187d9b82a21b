"""Secrets of one namespace as the Kubernetes API serves them."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from tests.containment.published.checked import Checked
from tests.containment.published.files import published

NAMESPACE = "gateway"


class _Stop(Exception):
    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


class Cluster:
    """`data`: by Secret, by entry, in plain."""

    def __init__(self, data: dict[str, dict[str, str]]) -> None:
        self._versions = itertools.count(100)
        self.secrets: dict[str, dict[str, Any]] = {}
        self.forbidden: frozenset[str] = frozenset()  # methods that the service account may not use
        self.before_change: Callable[[], object] = lambda: None  # what somebody else does just then
        for name, entries in data.items():
            self.put(name, {entry: base64.b64encode(value.encode()).decode() for entry, value in entries.items()})

    def put(self, name: str, data: dict[str, str], metadata: dict[str, Any] | None = None) -> dict[str, Any]:
        version = {"name": name, "namespace": NAMESPACE, "resourceVersion": str(next(self._versions))}
        content = {"data": data} if data else {}  # an empty map is left out
        self.secrets[name] = {
            "kind": "Secret", "apiVersion": "v1", "type": "Opaque",
            "metadata": {**(metadata or {}), **version}, **content,
        }  # fmt: skip
        return self.secrets[name]

    def plain(self, name: str) -> dict[str, str]:
        return {entry: base64.b64decode(value).decode() for entry, value in self.secrets[name].get("data", {}).items()}


def create(token: str, cluster: Cluster) -> Checked:  # noqa: C901 - one documented shape, read in one piece
    app = FastAPI()

    @app.exception_handler(_Stop)
    async def stop(_: Request, stopped: _Stop) -> JSONResponse:
        status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": stopped.status}
        return JSONResponse({**status, "message": str(stopped), "reason": stopped.reason}, stopped.status)

    def admit(request: Request, namespace: str) -> None:
        if request.headers.get("authorization") != f"Bearer {token}":
            raise _Stop(401, "Unauthorized", "Unauthorized")
        if request.method in cluster.forbidden or namespace != NAMESPACE:
            who = "system:serviceaccount:keyfuse:contain"
            raise _Stop(403, "Forbidden", f'secrets is forbidden: User "{who}" cannot {request.method} secrets')

    def found(name: str) -> dict[str, Any]:
        if name not in cluster.secrets:
            raise _Stop(404, "NotFound", f'secrets "{name}" not found')
        return cluster.secrets[name]

    @app.get("/api/v1/namespaces/{namespace}/secrets/{name}")
    async def get(request: Request, namespace: str, name: str) -> Any:
        admit(request, namespace)
        return found(name)

    @app.post("/api/v1/namespaces/{namespace}/secrets")
    async def create_secret(request: Request, namespace: str) -> Any:
        admit(request, namespace)
        body = await request.json()
        if body["metadata"]["name"] in cluster.secrets:
            raise _Stop(409, "AlreadyExists", f'secrets "{body["metadata"]["name"]}" already exists')
        if (body["apiVersion"], body["kind"]) != ("v1", "Secret"):
            raise _Stop(400, "BadRequest", "the object provided is unrecognized")
        return JSONResponse(cluster.put(body["metadata"]["name"], _valid(body["data"]), body["metadata"]), 201)

    @app.patch("/api/v1/namespaces/{namespace}/secrets/{name}")
    async def patch(request: Request, namespace: str, name: str) -> Any:
        admit(request, namespace)
        if request.headers.get("content-type") != "application/merge-patch+json":
            raise _Stop(415, "UnsupportedMediaType", "the body of the request was in an unknown format")
        cluster.before_change()
        body, old = await request.json(), found(name)
        if (
            body.get("metadata", {}).get("resourceVersion", old["metadata"]["resourceVersion"])
            != (old["metadata"]["resourceVersion"])
        ):
            raise _Stop(
                409, "Conflict", "the object has been modified; please apply your changes to the latest version"
            )
        merged = {**old.get("data", {}), **body.get("data", {})}
        return cluster.put(name, _valid({entry: value for entry, value in merged.items() if value is not None}))

    return Checked(app, published("kubernetes"))


def _valid(data: dict[str, str]) -> dict[str, str]:
    for value in data.values():
        try:
            base64.b64decode(value, validate=True)
        except ValueError:  # the real one may quote what it cannot read
            raise _Stop(400, "BadRequest", f"illegal base64 data: {value}") from None
    return data
