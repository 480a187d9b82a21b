"""Projects as OpenAI documents them (Admin API): keys, service accounts, limits, model permissions, spending."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from tests.containment.published.checked import Checked
from tests.containment.published.clients import openai_newer
from tests.containment.published.files import published

PROJECT = "proj_shop"
FIGURES = {
    "max_requests_per_1_minute", "max_tokens_per_1_minute", "max_images_per_1_minute",
    "max_audio_megabytes_per_1_minute", "max_requests_per_1_day", "batch_1_day_max_input_tokens",
}  # fmt: skip


@dataclass
class Project:
    """What OpenAI knows of `proj_shop`."""

    keys: set[str] = field(default_factory=set)
    service_account_keys: frozenset[str] = frozenset()  # not deleted by themselves, as was documented until 2026
    accounts: set[str] = field(default_factory=set)
    limits: dict[str, dict[str, int]] = field(
        default_factory=lambda: {"rl-cheap": {"max_requests_per_1_minute": 500, "max_tokens_per_1_minute": 30_000}}
    )
    page_size: int = 100
    permissions: dict[str, Any] | None = None
    spend_limit_cents: int | None = None
    spent_cents: int = 4_200
    enforced: bool = True  # False: the enforcement lags behind
    forbidden: frozenset[str] = frozenset()  # parts that the admin key has no permission for

    def shown_limit(self, limit: str) -> dict[str, Any]:
        return {"object": "project.rate_limit", "id": limit, "model": limit.removeprefix("rl-"), **self.limits[limit]}

    def shown_spend_limit(self) -> dict[str, Any]:
        cents = self.spend_limit_cents or 0
        status = "enforcing" if self.enforced and self.spent_cents >= cents else "inactive"
        return {
            "object": "project.spend_limit", "threshold_amount": cents, "currency": "USD", "interval": "month",
            "enforcement": {"status": status},
        }  # fmt: skip


class _Stop(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def create(secret: str, project: Project) -> Checked:
    app = FastAPI()

    @app.exception_handler(_Stop)
    async def stop(_: Request, stopped: _Stop) -> JSONResponse:
        detail = {"message": str(stopped), "type": "invalid_request_error", "param": None, "code": None}
        return JSONResponse({"error": detail}, stopped.status)

    async def answer(request: Request, project_id: str, rest: str = "") -> Any:
        authorization = request.headers.get("authorization", "")
        if authorization != f"Bearer {secret}":
            # The real one quotes the key back half masked; this one is nastier.
            raise _Stop(401, f"Incorrect API key provided: {authorization.removeprefix('Bearer ')}.")
        part, _, name = rest.partition("/")
        if part in project.forbidden:
            raise _Stop(403, "You have insufficient permissions for this operation.")
        if project_id != PROJECT:
            raise _Stop(404, f"No such project: {project_id}")
        body = await request.json() if request.method == "POST" else None
        return _PARTS[part](project, request, name, body)

    @app.get("/v1/models")
    async def models(request: Request) -> Any:
        """For callers. In the tests a key's value is `sk-` and its id."""
        if request.headers.get("authorization", "").removeprefix("Bearer sk-") not in project.keys:
            raise _Stop(401, "Incorrect API key provided.")
        return {"object": "list", "data": []}

    path = "/v1/organization/projects/{project_id}"
    app.add_api_route(path, answer, methods=["GET"])
    app.add_api_route(path + "/{rest:path}", answer, methods=["GET", "POST", "DELETE"])
    return Checked(app, openai_newer(), published("openai", prefix="/v1"))


def _project(project: Project, request: Request, name: str, body: Any) -> Any:
    return {"id": PROJECT, "object": "organization.project", "created_at": 1, "name": "shop", "status": "active"}


def _key(project: Project, request: Request, name: str, body: Any) -> Any:
    if name not in project.keys:
        raise _Stop(404, f"No such key: {name}")
    if request.method == "DELETE":
        if name in project.service_account_keys:
            raise _Stop(400, "API keys owned by a service account cannot be deleted here.")
        project.keys.discard(name)
        return {"object": "organization.project.api_key.deleted", "id": name, "deleted": True}
    user = {"id": "user_1", "name": "Ann", "email": "ann@example.com", "role": "owner", "created_at": 1}
    return {
        "object": "organization.project.api_key", "id": name, "name": "checkout", "redacted_value": "sk-abc...def",
        "created_at": 1711471533, "last_used_at": 1711471534, "owner": {"type": "user", "user": user},
        "owner_project_access": "active",
    }  # fmt: skip


def _account(project: Project, request: Request, name: str, body: Any) -> Any:
    if name not in project.accounts:
        raise _Stop(404, f"No such service account: {name}")
    if request.method == "DELETE":
        project.accounts.discard(name)
        return {"object": "organization.project.service_account.deleted", "id": name, "deleted": True}
    return {
        "object": "organization.project.service_account", "id": name, "name": "nightly", "role": "member",
        "created_at": 1711471533,
    }  # fmt: skip


def _limits(project: Project, request: Request, name: str, body: Any) -> Any:
    if request.method == "GET":
        names = list(project.limits)
        start = names.index(request.query_params["after"]) + 1 if "after" in request.query_params else 0
        page = names[start : start + project.page_size]
        return {
            "object": "list", "data": [project.shown_limit(each) for each in page],
            "first_id": page[0] if page else None, "last_id": page[-1] if page else None,
            "has_more": start + project.page_size < len(names),
        }  # fmt: skip
    if name not in project.limits:
        raise _Stop(404, f"No such rate limit: {name}")
    if not body or not set(body) <= FIGURES or any(not isinstance(each, int) or each < 1 for each in body.values()):
        raise _Stop(400, "Invalid rate limit.")
    if not set(body) <= set(project.limits[name]):
        raise _Stop(400, "This limit is not relevant for this model.")
    project.limits[name] |= body
    return project.shown_limit(name)


def _permissions(project: Project, request: Request, name: str, body: Any) -> Any:
    if request.method == "POST":
        if (
            set(body) != {"mode", "model_ids"}
            or body["mode"] not in {"allow_list", "deny_list"}
            or not body["model_ids"]
        ):
            raise _Stop(400, "Invalid model permissions.")
        project.permissions = body
    elif project.permissions is None:
        raise _Stop(404, "No model permissions.")
    elif request.method == "DELETE":
        project.permissions = None
        return {"object": "project.model_permissions.deleted", "deleted": True}
    return {"object": "project.model_permissions", **project.permissions}


def _spend_limit(project: Project, request: Request, name: str, body: Any) -> Any:
    if request.method == "POST":
        cents = body.get("threshold_amount")
        if body.get("currency") != "USD" or body.get("interval") != "month" or not isinstance(cents, int) or cents < 1:
            raise _Stop(400, "Invalid spend limit.")
        project.spend_limit_cents = cents
    elif project.spend_limit_cents is None:
        raise _Stop(404, "No spend limit.")
    elif request.method == "DELETE":
        project.spend_limit_cents = None
        return {"object": "project.spend_limit.deleted", "deleted": True}
    return project.shown_spend_limit()


_PARTS = {
    "": _project, "api_keys": _key, "service_accounts": _account, "rate_limits": _limits,
    "model_permissions": _permissions, "spend_limit": _spend_limit,
}  # fmt: skip
