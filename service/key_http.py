"""`POST /v1/keys`: a key in one call, where the rules give one; `GET /v1/keys/ID`: what became of a request.

The secret is in the first answer and nowhere else. The same request sent again is told how it stands, without it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Header, Request
from fastapi.responses import JSONResponse
from pydantic import SecretStr

from controls.issuing_desk import waits
from schemas.key_ask import Problem
from schemas.key_record import KeyRecord
from service.edges import Edges
from service.install import Install, wall_ms
from service.key_asking import Asker, Prepared, prepare, standing_words
from service.minted import find_minted
from sources.http_answers import authorised, not_published, unauthorised
from sources.http_body import BodyRefused, read_body
from streams.publish import RecordPublisher
from streams.topics import Topic

_MOST_BYTES: Final = 65_536
_LOOK_S: Final = 0.02
_OWN: Final = ("by", "request_id", "seal_to")
_STATUS: Final = {"active": 201, "pending": 202, "refused": 422}
_NO_STORE: Final = {"Cache-Control": "no-store"}


class KeyCounter:
    """Takes requests for keys and waits for what becomes of them."""

    def __init__(
        self, install: Install, bootstrap: str, publish: RecordPublisher, answered: Callable[[str], None]
    ) -> None:
        self._install, self._bootstrap, self._publish, self._answered = install, bootstrap, publish, answered

    async def ask(self, data: dict[str, Any], request_id: str) -> JSONResponse:
        """The answer for one body."""
        wish = {name: value for name, value in data.items() if name not in _OWN}
        request_id = request_id or str(data.get("request_id") or "")
        registry, by = self._install.registry, str(data.get("by") or data.get("owner") or "")
        known = registry.asked_for(request_id) if request_id else None
        if known is not None:
            return self._again(known, wish)
        if not by:
            return self._wrong([Problem("by", "say who asks, as in people.yaml")])
        asker = Asker(by, "api", request_id, str(data.get("seal_to") or ""))
        prepared = prepare(self._install, registry, wish, asker, now_ms=wall_ms())
        if isinstance(prepared, list):
            return self._wrong(prepared)
        refused = await not_published(self._publish((Topic.KEY_ASKS, [(prepared.ask.request_id, prepared.ask)])))
        if refused is not None:
            self._answered("not_taken")
            return refused
        return await self._wait(prepared)

    async def state(self, name: str) -> JSONResponse:
        """Of a key by its key_id, or of a request by its id; of a provider's credential with the secret, sealed."""
        key = self._install.registry.entry(name) or self._install.registry.asked_for(name)
        if key is None:
            return JSONResponse({"detail": f"nothing is known of {name[:100]}"}, status_code=404)
        shown = _shown(key) | {"record": key.model_dump(mode="json")} | await self._sealed(key)
        return JSONResponse(shown, headers=_NO_STORE)

    async def _wait(self, prepared: Prepared) -> JSONResponse:
        ask, secret = prepared
        shown = {} if secret is None else {"key": secret.get_secret_value()}
        try:
            async with asyncio.timeout(self._install.folder.wiring.key_requests.wait_s):
                while (key := self._decided(ask.request_id)) is None:  # noqa: ASYNC110 - the registry is another one after a reload
                    await asyncio.sleep(_LOOK_S)
        except TimeoutError:
            self._answered("slow")
            words = "it is asked, and nobody has answered yet; look it up by its request_id"
            told = {"request_id": ask.request_id, "key_id": ask.key_id, "state": "asked", "detail": words}
            return JSONResponse(told | shown, status_code=202, headers=_NO_STORE)
        if secret is not None and key.key_id != ask.key_id:  # the same request came in twice at once
            return self._again(key, {})
        self._answered(key.state)
        shown = {} if key.state == "refused" else shown | await self._sealed(key)
        return JSONResponse(_shown(key) | shown, status_code=_STATUS.get(key.state, 200), headers=_NO_STORE)

    def _decided(self, request_id: str) -> KeyRecord | None:
        """The key, once it is there, refused, or waits for a person."""
        key = self._install.registry.asked_for(request_id)
        return None if key is None or (key.state == "pending" and not waits(key)) else key

    async def _sealed(self, key: KeyRecord) -> dict[str, str]:
        if key.kind != "provider" or key.state != "active":
            return {}
        minted = await find_minted(self._install, self._bootstrap, key.request_id)
        return {} if minted is None else {"sealed": minted.sealed}

    def _again(self, key: KeyRecord, wish: dict[str, Any]) -> JSONResponse:
        """The same request: how it stands. Another wish under the same id would be answered wrongly."""
        other = [
            name for name in ("team", "app", "env", "purpose") if name in wish and wish[name] != getattr(key, name)
        ]
        if other:
            self._answered("conflict")
            words = f"this request id was used for something else: {', '.join(other)} differ. Take a new one"
            return JSONResponse({"detail": words, "request_id": key.request_id}, status_code=409)
        self._answered("again")
        words = (
            "this request was answered before, and its key was shown then; ask again under another id if it was lost"
        )
        return JSONResponse(_shown(key) | {"detail": words}, status_code=200, headers=_NO_STORE)

    def _wrong(self, problems: Sequence[Problem]) -> JSONResponse:
        self._answered("wrong")
        errors = [{"field": each.field, "detail": each.words} for each in problems]
        return JSONResponse({"detail": "nothing was asked for", "errors": errors}, status_code=422)


def _shown(key: KeyRecord) -> dict[str, Any]:
    return {
        "key_id": key.key_id, "request_id": key.request_id, "state": key.state, "detail": standing_words(key),
        "expires_ms": key.expires_ms, "quota_usd_per_day": key.quota_usd_per_day,
        "quota_requests_per_min": key.quota_requests_per_min,
    }  # fmt: skip


def create_keys(counter: KeyCounter, token: SecretStr) -> APIRouter:
    """The routes. One token for all of them; it reads nothing but what it asked for by name."""
    router, expected = APIRouter(prefix="/v1"), token.get_secret_value().encode()

    @router.post("/keys")
    async def ask(
        request: Request, authorization: Annotated[str, Header()] = "", idempotency_key: Annotated[str, Header()] = ""
    ) -> JSONResponse:
        if not authorised(authorization, expected):
            return unauthorised()
        try:
            data = orjson.loads(await read_body(request, _MOST_BYTES))
        except BodyRefused as refused:
            return JSONResponse({"detail": refused.detail}, status_code=refused.status)
        except orjson.JSONDecodeError:
            return JSONResponse({"detail": "the body is not JSON"}, status_code=400)
        if not isinstance(data, dict):
            return JSONResponse({"detail": "the body is not a JSON object"}, status_code=400)
        return await counter.ask(data, idempotency_key)

    @router.get("/keys/{name}")
    async def state(name: str, authorization: Annotated[str, Header()] = "") -> JSONResponse:
        return await counter.state(name) if authorised(authorization, expected) else unauthorised()

    return router


def keys_router(edges: Edges) -> APIRouter:
    """Put together for one worker."""

    def answered(result: str) -> None:
        edges.metrics.inc("keyfuse_key_requests_total", result=result)

    counter = KeyCounter(edges.install, edges.bootstrap, RecordPublisher(edges.outbox), answered)
    return create_keys(counter, edges.install.requests_token())
