"""Orders to make a credential: carried out where the admin keys are, answered with the secret sealed to whoever asked.

Kept apart from cuts, which never wait for it. What was made is stored, sealed, before it is told: read again, the order
is answered with the same. A run that died in the middle deletes what it may have made, and makes another.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

from containment.mint import Tools, mint
from containment.minters.base import Minter
from containment.providers.errors import ProviderError
from schemas.config import ResponsesConfig
from schemas.minting import Minted, MintOrder
from schemas.records import AuditRow, stable_id
from streams.checkpoint import ShardStore
from streams.outbox import Outbox
from streams.topics import Topic

_BEGUN: Final = b"begun"


class Minting(NamedTuple):
    """Where credentials come from. `minter` raises ProviderError where there is none, in words for whoever asked."""

    minter: Callable[[str], Minter]
    fingerprint: Callable[[str], str]


class MintRuns:
    """Of one contain stage."""

    def __init__(
        self, minting: Minting | None, *, store: ShardStore, outbox: Outbox, now_ms: Callable[[], int],
        sleep: Callable[[float], Awaitable[None]], responses: Callable[[], ResponsesConfig],
    ) -> None:  # fmt: skip
        self._minting, self._store, self._outbox = minting, store, outbox
        self._now_ms, self._sleep, self._responses = now_ms, sleep, responses

    def known(self, order: MintOrder) -> bool:
        """Whether it has begun or ended here."""
        return self._store.get(_key(order)) is not None

    async def run(self, order: MintOrder, done: Callable[[], object]) -> None:
        """To its end; `done` acknowledges it."""
        stored = self._store.get(_key(order))
        if stored is None or stored == _BEGUN:
            minted = await self._mint(order, begun=stored is not None)
            await self._store.put(0, _key(order), minted.to_bytes())
        else:
            minted = Minted.from_bytes(stored)
        await tell(self._outbox, order, minted)
        done()

    async def _mint(self, order: MintOrder, *, begun: bool) -> Minted:
        if self._minting is None:
            return Minted(request_id=order.request_id, at_ms=self._now_ms(), error="no credentials are made here")
        tools = Tools(self._responses().retry, self._now_ms, self._sleep, self._minting.fingerprint)
        try:
            minter = self._minting.minter(order.provider)
        except ProviderError as error:
            return Minted(request_id=order.request_id, at_ms=self._now_ms(), error=str(error))
        try:
            return await mint(
                order, minter, begun=begun, begin=lambda: self._store.put(0, _key(order), _BEGUN), tools=tools
            )
        finally:
            await minter.close()


async def tell(outbox: Outbox, order: MintOrder, minted: Minted) -> None:
    """The identity stage and whoever asked, and the audit."""
    result = "refused" if minted.error else "made"
    row = AuditRow(
        audit_id=stable_id("aud", "mint", order.request_id, result), at_ms=minted.at_ms, actor=order.by, action="mint",
        key_id=minted.key_id or order.key_id, incident_id="", command_id="", result=result,
        detail={"provider": order.provider, "place": order.place, "name": order.name, "why": minted.error,
                "provider_ref": minted.provider_ref},
    )  # fmt: skip
    await outbox.send(Topic.KEY_ASKS, [(order.request_id, minted)])
    await outbox.send(Topic.AUDIT, [(row.key_id, row)])


def _key(order: MintOrder) -> bytes:
    return f"mint:{order.request_id}".encode()
