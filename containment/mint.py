"""Make one credential, whatever happens on the way: bounded tries, and nothing left behind that nobody holds."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from pydantic import SecretStr

from containment.minters.base import Made, Minter, Wanted
from containment.providers.errors import ProviderError, Refused, Retryable
from containment.sealing import seal
from schemas.config.responses import RetryConfig
from schemas.minting import Minted, MintOrder


class Tools(NamedTuple):
    """What a run works with."""

    retry: RetryConfig
    now_ms: Callable[[], int]
    sleep: Callable[[float], Awaitable[None]]
    fingerprint: Callable[[str], str]


async def mint(
    order: MintOrder, minter: Minter, *, begun: bool, begin: Callable[[], Awaitable[None]], tools: Tools
) -> Minted:
    """`begun`: an earlier run may have made it and lost its secret; that one is deleted first. `begin` writes down that
    this one has begun, before anything is made.
    """
    wanted, pause_s = _wanted(order, tools.now_ms()), tools.retry.wait_initial_s
    why = ""
    for attempt in range(tools.retry.attempts):
        try:
            if begun:
                await minter.discard(wanted)
            await begin()
            begun = True
            return _made(order, await minter.mint(wanted), tools)
        except Refused as refused:
            return _failed(order, str(refused), tools)
        except Retryable as retryable:
            why = str(retryable)
            if attempt + 1 < tools.retry.attempts:
                await tools.sleep(retryable.retry_after_s or pause_s)
                pause_s = min(2 * pause_s, tools.retry.wait_max_s)
    return _failed(order, f"{why}, {tools.retry.attempts} times{await _left_behind(minter, wanted)}", tools)


async def _left_behind(minter: Minter, wanted: Wanted) -> str:
    """The last try may have made one all the same."""
    try:
        await minter.discard(wanted)
    except ProviderError:
        return f"; it may have been made all the same: look for {wanted.name} {wanted.place}".rstrip()
    return ""


def _wanted(order: MintOrder, now_ms: int) -> Wanted:
    expires_s = None if order.expires_ms is None else max(60, (order.expires_ms - now_ms) // 1000)
    return Wanted(order.name, order.place, order.usd_per_day, order.expires_ms, expires_s)


def _made(order: MintOrder, made: Made, tools: Tools) -> Minted:
    secret: SecretStr = made.secret
    return Minted(
        request_id=order.request_id, at_ms=tools.now_ms(), provider_ref=made.ref,
        key_id=tools.fingerprint(made.seen_as.get_secret_value()), last4=_last4(secret),
        sealed=seal(secret, order.seal_to, order.request_id),
    )  # fmt: skip


def _last4(secret: SecretStr) -> str:
    return "".join(letter for letter in secret.get_secret_value()[-4:] if letter.isalnum())


def _failed(order: MintOrder, why: str, tools: Tools) -> Minted:
    return Minted(request_id=order.request_id, at_ms=tools.now_ms(), error=why)
