"""A request's body, from who may send anything."""

from __future__ import annotations

import pytest
from starlette.requests import Request

from sources.http_body import BodyRefused, read_body


async def test_who_hangs_up_in_the_middle_is_refused_like_anybody_else() -> None:
    """An error of its own would be a traceback in the log, and whoever finds the address could fill it."""
    coming: list[dict[str, object]] = [
        {"type": "http.request", "body": b"{", "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive() -> dict[str, object]:
        return coming.pop(0)

    request = Request({"type": "http", "method": "POST", "headers": []}, receive)
    with pytest.raises(BodyRefused, match="the body is cut off") as refused:
        await read_body(request, 100)
    assert refused.value.status == 400
