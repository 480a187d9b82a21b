"""The keys API as OpenRouter documents it: GET, PATCH and DELETE of /keys/{hash}."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Header, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from tests.containment.published.checked import Checked
from tests.containment.published.clients import openrouter_keys

LIVE = "f01d52606dc8f0a8303a7b5cc3fa07109c2e346cec7c0a16b40de462992ce943"
Reset = Literal["daily", "weekly", "monthly"]


@dataclass
class Key:
    """One key; `since_reset` is what it spent since its limit last started afresh."""

    disabled: bool = False
    limit: float | None = None
    limit_reset: Reset | None = None
    include_byok: bool = False
    usage: float = 25.5
    byok_usage: float = 17.38
    since_reset: float = 3.25

    def remaining(self) -> float | None:
        if self.limit is None:
            return None
        spent = self.since_reset if self.limit_reset else self.usage
        return self.limit - spent - (self.byok_usage if self.include_byok else 0)


class Update(BaseModel, extra="forbid", strict=True):
    name: str | None = None
    disabled: bool | None = None
    limit: float | None = None
    limit_reset: Reset | None = None
    include_byok_in_limit: bool | None = None


def create(secret: str, keys: dict[str, Key]) -> Checked:  # noqa: C901 - one documented shape, read in one piece
    """`keys`: hash -> key."""
    app = FastAPI()

    def error(status: int, message: str) -> JSONResponse:
        return JSONResponse({"error": {"code": status, "message": message}}, status)

    @app.exception_handler(RequestValidationError)
    async def bad(request: Request, exc: RequestValidationError) -> JSONResponse:
        return error(400, "Invalid request parameters")

    def stop(authorization: str, key: str) -> JSONResponse | None:
        if authorization != f"Bearer {secret}":
            return error(401, f"Invalid management key {authorization.removeprefix('Bearer ')}")
        return None if key in keys else error(404, "API key not found")

    @app.get("/api/v1/keys/{key}")
    async def get(key: str, authorization: Annotated[str, Header()] = "") -> Any:
        return stop(authorization, key) or {"data": _shown(key, keys[key])}

    @app.get("/api/v1/key")
    async def own(authorization: Annotated[str, Header()] = "") -> Any:
        """For callers. In the tests a key's value is `sk-or-` and its hash."""
        key = authorization.removeprefix("Bearer sk-or-")
        if key not in keys or keys[key].disabled:
            return error(401, "User not found.")
        return {"data": _shown_to_itself(key, keys[key])}

    @app.patch("/api/v1/keys/{key}")
    async def patch(key: str, data: Update, authorization: Annotated[str, Header()] = "") -> Any:
        stopped = stop(authorization, key)
        if stopped:
            return stopped
        for name in data.model_fields_set:
            setattr(keys[key], name, getattr(data, name))
        return {"data": _shown(key, keys[key])}

    @app.delete("/api/v1/keys/{key}")
    async def delete(key: str, authorization: Annotated[str, Header()] = "") -> Any:
        stopped = stop(authorization, key)
        if stopped:
            return stopped
        del keys[key]
        return {"deleted": True}

    return Checked(app, openrouter_keys())


def _shown(key: str, of: Key) -> dict[str, Any]:
    usage = {f"{kind}{span}": of.usage for kind in ("usage",) for span in ("", "_daily", "_weekly", "_monthly")}
    byok = {f"byok_usage{span}": of.byok_usage for span in ("", "_daily", "_weekly", "_monthly")}
    return usage | byok | {
        "hash": key,
        "name": "checkout",
        "label": "sk-or-v1-0e6...1c96",
        "disabled": of.disabled,
        "limit": of.limit,
        "limit_remaining": of.remaining(),
        "limit_reset": of.limit_reset,
        "include_byok_in_limit": of.include_byok,
        "creator_user_id": "user_2dHFtVWx2n56w6HkM0000000000",
        "workspace_id": "0df9e665-d932-5740-b2c7-b52af166bc11",
        "created_at": "2025-08-24T10:30:00Z",
        "updated_at": None,
        "expires_at": None,
        "external_user": None,
        "last_used_at": "2026-11-29T23:58:27Z",
    }  # fmt: skip


def _shown_to_itself(key: str, of: Key) -> dict[str, Any]:
    hidden = {"hash", "name", "disabled", "created_at", "updated_at", "external_user", "last_used_at"}
    return {name: value for name, value in _shown(key, of).items() if name not in hidden} | {
        "allowed_data_regions": [],
        "budgets": [],
        "effective_budget": None,
        "free_model_daily_requests": {"limit": 50, "remaining": 50, "used": 0},
        "is_free_tier": False,
        "is_management_key": False,
        "is_provisioning_key": False,
        "organization_id": None,
        "rate_limit": {"interval": "1h", "note": "This field is deprecated", "requests": 1000},
    }
