"""What the contract suite needs of any provider, and how a bench over HTTP is made."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Protocol

from pydantic import SecretStr
from starlette.types import ASGIApp

from containment.providers.base import Provider
from tests.containment.servers.serve import Faulty, IsChange, Misbehave, is_change, serving

SECRET = "plainly-secret-0123456789"
TIMEOUT_S = 10.0


class Another(Protocol):
    def __call__(self, *, secret: str = SECRET, timeout_s: float = TIMEOUT_S) -> Provider: ...


@dataclass
class Bench:
    """What the contract suite needs of a provider."""

    provider: Provider
    ref: str
    unknown_ref: str
    fault: Callable[[Misbehave], None]
    changes: Callable[[], int]  # requests that asked for a change
    another: Another  # the same provider and server, reached otherwise
    quoted: str = SECRET  # its secret as a provider might quote it back
    impatient_s: float = 0.25  # soon enough for a test, and long enough for a change to happen


Make = Callable[[SecretStr, str, float], Provider]


@contextlib.asynccontextmanager
async def over_http(
    app: ASGIApp,
    make: Make,
    ref: str,
    unknown: str,
    suffix: str = "",
    *,
    is_change: IsChange = is_change,
    layer: type[Faulty] = Faulty,
) -> AsyncIterator[Bench]:
    faulty = layer(app, is_change=is_change)
    async with serving(faulty) as url, contextlib.AsyncExitStack() as closing:

        def another(*, secret: str = SECRET, timeout_s: float = TIMEOUT_S) -> Provider:
            provider = make(SecretStr(secret), url + suffix, timeout_s)
            closing.push_async_callback(provider.close)
            return provider

        def changes() -> int:
            return sum(is_change(method, path) for method, path in faulty.requests)

        yield Bench(another(), ref, unknown, faulty.faults.append, changes, another)
