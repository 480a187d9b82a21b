"""A small provider to practise on: it really refuses a key that was cut.

What the admin API says changes at once; what callers get changes `propagation_s` later, as with the real ones, so
that verification has something to wait for. A probe goes through the very same check as a call.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal, NamedTuple

from fastapi import APIRouter, Depends, FastAPI, Header, HTTPException
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field, SecretStr

Status = Literal["active", "disabled", "revoked"]


class _Rule(NamedTuple):
    status: Status
    limit_per_min: int | None


_FREE: Final = _Rule("active", None)


@dataclass
class _Key:
    key_id: str
    rule: _Rule = _FREE
    history: list[tuple[float, _Rule]] = field(default_factory=list)  # (since when it holds for callers, what)
    minute: int = -1
    used: int = 0  # calls admitted in that minute
    calls: int = 0
    refused: int = 0

    def change(self, rule: _Rule, at_s: float) -> None:
        if rule != self.rule:
            self.rule = rule
            self.history.append((at_s, rule))

    def held(self, now_s: float) -> _Rule:
        """What callers meet now."""
        while len(self.history) > 1 and self.history[1][0] <= now_s:
            self.history.pop(0)
        return self.history[0][1] if self.history and self.history[0][0] <= now_s else _FREE


class NewKey(BaseModel):
    """A key to know. Of the secret only a hash is kept; without one, callers use the key_id itself."""

    key_id: str = Field(min_length=1, max_length=256)
    secret: SecretStr | None = None


class Throttle(BaseModel):
    """Calls per minute; null lifts the limit."""

    limit_per_min: int | None = Field(default=1, ge=0)


class Sandbox:
    """The keys and the one check that calls and probes share. Times in seconds of `now`."""

    def __init__(self, now: Callable[[], float], propagation_s: float) -> None:
        self._now = now
        self._propagation_s = propagation_s
        self._keys: dict[str, _Key] = {}
        self._by_credential: dict[str, str] = {}

    def register(self, new: NewKey) -> dict[str, Any]:
        key = self._keys.setdefault(new.key_id, _Key(new.key_id))
        credential = new.secret.get_secret_value() if new.secret else new.key_id
        self._by_credential[_hash(credential)] = new.key_id
        return self.shown(key)

    def find(self, key_id: str) -> _Key:
        if key_id not in self._keys:
            raise HTTPException(404, "no such key")
        return self._keys[key_id]

    def change(self, key_id: str, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - fields of a rule
        key = self.find(key_id)
        if key.rule.status == "revoked" and changes.get("status", "revoked") != "revoked":
            raise HTTPException(400, "a revoked key cannot come back")
        key.change(key.rule._replace(**changes), self._now() + self._propagation_s)
        return self.shown(key)

    @staticmethod
    def shown(key: _Key) -> dict[str, Any]:
        rule = key.rule
        return {
            "key_id": key.key_id,
            "status": rule.status,
            "limit_per_min": rule.limit_per_min,
            "calls": key.calls,
            "refused": key.refused,
        }

    def admit(self, key_id: str | None) -> int:
        """The HTTP status a call with this key gets now."""
        key = self._keys.get(key_id or "")
        if key is None:
            return 401
        now_s = self._now()
        rule = key.held(now_s)
        if rule.status != "active":
            key.refused += 1
            return 401
        minute = int(now_s // 60)
        key.used = key.used if key.minute == minute else 0
        key.minute = minute
        if rule.limit_per_min is not None and key.used >= rule.limit_per_min:
            key.refused += 1
            return 429
        key.used += 1
        key.calls += 1
        return 200

    def admit_credential(self, authorization: str) -> int:
        return self.admit(self._by_credential.get(_hash(authorization.removeprefix("Bearer ").strip())))


def create_sandbox(
    admin_token: SecretStr | None = None, *, propagation_s: float = 0, now: Callable[[], float] = time.monotonic
) -> FastAPI:
    """The app.

    Args:
        admin_token: Bearer token of the admin endpoints; None leaves them open, for a loopback address only.
        propagation_s: How long callers still meet the old state after a change.
        now: Clock in seconds.
    """
    sandbox = Sandbox(now, propagation_s)
    app = FastAPI(title="Keyfuse sandbox provider", openapi_url=None)
    app.state.sandbox = sandbox  # whoever runs it in the same process may call without a socket

    def guard(authorization: Annotated[str, Header()] = "") -> None:
        wanted = admin_token and f"Bearer {admin_token.get_secret_value()}"
        if wanted and not hmac.compare_digest(authorization.encode(), wanted.encode()):
            raise HTTPException(401, "wrong admin token")

    app.include_router(_calls(sandbox))
    app.include_router(_admin(sandbox), prefix="/admin/keys", dependencies=[Depends(guard)])
    return app


def _calls(sandbox: Sandbox) -> APIRouter:
    router = APIRouter()

    @router.post("/v1/use")
    @router.post("/v1/chat/completions")
    async def use(authorization: Annotated[str, Header()] = "") -> JSONResponse:
        status = sandbox.admit_credential(authorization)
        if status != 200:
            message = "slow down" if status == 429 else "invalid or disabled API key"
            return JSONResponse({"error": {"message": message}}, status)
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "ok"}}
        return JSONResponse({"object": "chat.completion", "choices": [choice], "usage": usage})

    return router


def _admin(sandbox: Sandbox) -> APIRouter:
    router = APIRouter()

    @router.post("")
    async def register(new: NewKey) -> dict[str, Any]:
        return sandbox.register(new)

    @router.get("/{key_id}")
    async def show(key_id: str) -> dict[str, Any]:
        return sandbox.shown(sandbox.find(key_id))

    @router.post("/{key_id}/disable")
    async def disable(key_id: str) -> dict[str, Any]:
        revoked = sandbox.find(key_id).rule.status == "revoked"
        return sandbox.change(key_id, status="revoked" if revoked else "disabled")

    @router.post("/{key_id}/enable")
    async def enable(key_id: str) -> dict[str, Any]:
        return sandbox.change(key_id, status="active")

    @router.post("/{key_id}/revoke")
    async def revoke(key_id: str) -> dict[str, Any]:
        return sandbox.change(key_id, status="revoked")

    @router.post("/{key_id}/throttle")
    async def throttle(key_id: str, limit: Throttle) -> dict[str, Any]:
        return sandbox.change(key_id, limit_per_min=limit.limit_per_min)

    @router.post("/{key_id}/probe")
    async def probe(key_id: str) -> dict[str, Any]:
        sandbox.find(key_id)
        return {"key_id": key_id, "status_code": sandbox.admit(key_id)}

    return router


def _hash(credential: str) -> str:
    return hashlib.sha256(credential.encode()).hexdigest()
