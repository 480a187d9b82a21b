"""What every intake answers alike: who may speak, and what to do when the broker does not take it."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Sequence
from typing import Any, Final

from fastapi.responses import JSONResponse

from schemas.records import DeadReason
from sources.envelope import Refusal
from sources.errors import BrokerDown, BrokerSlow

_SHOWN: Final = 20  # bad ones named in one answer
_TOO_MUCH: Final = frozenset({DeadReason.TOO_MANY_EVENTS, DeadReason.TOO_LARGE})


def authorised(header: str, expected: bytes) -> bool:
    """Whether an `Authorization` header bears the token."""
    scheme, _, given = header.partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), expected)


def problem(status: int, detail: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """Nothing was taken, and why."""
    return JSONResponse({"accepted": 0, "detail": detail}, status_code=status, headers=headers)


def unauthorised() -> JSONResponse:
    return problem(401, "wrong or missing bearer token", headers={"WWW-Authenticate": "Bearer"})


async def not_published(publishing: Awaitable[None]) -> JSONResponse | None:
    """None when the broker has it, else what to tell the sender."""
    try:
        await publishing
    except BrokerSlow as slow:
        return problem(429, "the broker is slow: send again later", headers={"Retry-After": str(slow.retry_after_s)})
    except (BrokerDown, OSError):  # a lost connection or a timeout is an OSError
        return problem(503, "the broker does not answer: send again later", headers={"Retry-After": "5"})
    return None


def bad_request(refusals: Sequence[Refusal]) -> JSONResponse:
    """What is wrong with the body, in its order."""
    status = 413 if refusals[0].reason in _TOO_MUCH else 400
    errors = [_shown(refusal) for refusal in refusals[:_SHOWN]]
    return JSONResponse({"accepted": 0, "bad": len(refusals), "errors": errors}, status_code=status)


def _shown(refusal: Refusal) -> dict[str, Any]:
    """`index` counts the parts of the body from 0; -1 is the body as a whole."""
    return {
        "index": refusal.index,
        "field": refusal.field,
        "reason": refusal.reason.value,
        "detail": refusal.detail,
    }
