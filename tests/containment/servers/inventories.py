"""Lists of keys as providers document them: their pages, their parameters, and nothing that was not asked for.

Answers are held to the official clients' own models, which the providers generate from their APIs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from anthropic.types.organization import APIKey
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from openai.types.admin.organization import Project
from openai.types.admin.organization.projects import ProjectAPIKey
from openrouter.operations import ListResponse
from pydantic import TypeAdapter

from tests.containment.servers.serve import Faulty

SECRET = "admin-secret"
Page = Callable[[Request], dict[str, Any]]


def _app(path: str, allowed: set[str], header: str, page: Page) -> Faulty:
    app = FastAPI()

    async def answer(request: Request) -> Any:
        given = (request.headers.get(header) or request.headers.get("authorization", "")).removeprefix("Bearer ")
        if given != SECRET:
            return JSONResponse({"error": {"message": f"wrong key {given}"}}, 401)
        unknown = set(request.query_params) - allowed
        if unknown:
            return JSONResponse({"error": {"message": f"unknown parameters {unknown}"}}, 400)
        return page(request)

    app.add_api_route(path, answer, methods=["GET"])
    return Faulty(app)


def _checked(model: Any, value: dict[str, Any]) -> dict[str, Any]:
    TypeAdapter(model).validate_python(value)
    return value


def openai(projects: dict[str, list[str]], *, page_size: int = 2) -> Faulty:
    """`projects`: id -> ids of its keys."""

    def one_page(request: Request, rows: list[dict[str, Any]]) -> dict[str, Any]:
        assert 1 <= int(request.query_params.get("limit", 20)) <= 100
        ids = [row["id"] for row in rows]
        start = ids.index(request.query_params["after"]) + 1 if "after" in request.query_params else 0
        page = rows[start : start + page_size]
        ends = {"first_id": page[0]["id"] if page else None, "last_id": page[-1]["id"] if page else None}
        return {"object": "list", "data": page, "has_more": start + page_size < len(rows), **ends}

    def page(request: Request) -> dict[str, Any]:
        parts = request.path_params["rest"].split("/")
        if parts == ["projects"]:
            shown = [
                {"id": name, "object": "organization.project", "created_at": 1, "name": f"{name[5:]} production",
                 "status": "active"}
                for name in projects
            ]  # fmt: skip
            return one_page(request, [_checked(Project, one) for one in shown])
        assert request.query_params.get("owner_project_access") == "any"
        assert parts[0] == "projects"
        assert parts[2:] == ["api_keys"]
        return one_page(request, [_openai_key(key) for key in projects[parts[1]]])

    allowed = {"limit", "after", "owner_project_access", "include_archived"}
    return _app("/v1/organization/{rest:path}", allowed, "authorization", page)


def _openai_key(key: str) -> dict[str, Any]:
    of_account = key.endswith("sa")
    account = {"id": "sa_1", "name": "nightly", "role": "member", "created_at": 1}
    user = {"id": "user_1", "name": "Ann", "email": "ann@example.com", "role": "owner", "created_at": 1}
    owner = {"type": "service_account", "service_account": account} if of_account else {"type": "user", "user": user}
    return _checked(ProjectAPIKey, {
        "object": "organization.project.api_key", "id": key, "name": "checkout", "redacted_value": "sk-abc...wxyz",
        "created_at": 1_711_471_533, "last_used_at": None if of_account else 1_711_471_600, "owner": owner,
        "owner_project_access": "inactive" if key.endswith("off") else "active", "expires_at": None,
    })  # fmt: skip


def anthropic(keys: dict[str, str], *, page_size: int = 2) -> Faulty:
    """`keys`: id -> status."""

    def page(request: Request) -> dict[str, Any]:
        assert request.headers.get("anthropic-version")
        assert 1 <= int(request.query_params.get("limit", 20)) <= 1000
        ids = list(keys)
        start = ids.index(request.query_params["after_id"]) + 1 if "after_id" in request.query_params else 0
        rows = ids[start : start + page_size]
        return {
            "data": [_anthropic_key(key, keys[key]) for key in rows], "has_more": start + page_size < len(ids),
            "first_id": rows[0] if rows else None, "last_id": rows[-1] if rows else None,
        }  # fmt: skip

    return _app("/v1/organizations/api_keys", {"limit", "after_id"}, "x-api-key", page)


def _anthropic_key(key: str, status: str) -> dict[str, Any]:
    shown = {
        "type": "api_key", "id": key, "name": "checkout", "status": status, "principal": None,
        "partial_key_hint": "sk-ant-api03-R2D...igAA", "created_at": "2026-10-30T23:58:27.427722Z",
        "created_by": {"id": "user_1", "type": "user"}, "expires_at": None,
        "scope": {"type": "workspace", "workspace_id": "wrkspc_1"},
    }  # fmt: skip
    TypeAdapter(APIKey).validate_python(shown)
    return shown


def openrouter(hashes: list[str], *, page_size: int = 100) -> Faulty:
    """Hashes of keys; those that end in `off` are disabled."""

    def page(request: Request) -> dict[str, Any]:
        start = int(request.query_params.get("offset", 0))
        rows = [one for one in hashes if request.query_params.get("include_disabled") == "true" or one[-3:] != "off"]
        return {"data": [_openrouter_key(one) for one in rows[start : start + page_size]]}

    return _app("/api/v1/keys", {"offset", "include_disabled", "workspace_id"}, "authorization", page)


def _openrouter_key(key: str) -> dict[str, Any]:
    money = {f"{kind}{span}": 1.0 for kind in ("usage", "byok_usage") for span in ("", "_daily", "_weekly", "_monthly")}
    shown = money | {
        "hash": key, "name": "checkout", "label": "sk-or-v1-0e6...1c96", "disabled": key.endswith("off"), "limit": None,
        "limit_remaining": None, "limit_reset": None, "include_byok_in_limit": False, "creator_user_id": "user_2",
        "workspace_id": "0df9e665-d932-5740-b2c7-b52af166bc11", "created_at": "2025-08-24T10:30:00Z",
        "updated_at": None, "expires_at": None, "external_user": None, "last_used_at": "2026-11-29T23:58:27Z",
    }  # fmt: skip
    TypeAdapter(ListResponse).validate_python({"data": [shown]})
    return shown


def litellm(tokens: list[str], *, page_size: int = 2) -> Faulty:
    """Hashes of virtual keys, as the proxy's `/key/list` gives them with `return_full_object`."""

    def page(request: Request) -> dict[str, Any]:
        number = int(request.query_params.get("page", 1))
        assert number >= 1
        assert 1 <= int(request.query_params.get("size", 10)) <= 100
        assert request.query_params.get("return_full_object") == "true"
        rows = tokens[(number - 1) * page_size : number * page_size]
        shown = [
            {"token": one, "key_name": "sk-...wxyz", "key_alias": "checkout", "spend": 1.5, "expires": None,
             "blocked": None, "team_id": "t1", "user_id": "ann", "created_at": "2026-10-30T23:58:27.427722"}
            for one in rows
        ]  # fmt: skip
        pages = -(-len(tokens) // page_size)
        return {"keys": shown, "total_count": len(tokens), "current_page": number, "total_pages": pages}

    return _app("/key/list", {"page", "size", "return_full_object"}, "authorization", page)
