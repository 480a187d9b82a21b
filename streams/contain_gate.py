"""Which records of the commands topic may act at all, and what becomes of those that may not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from containment.orders import Doubted, Order, believe, expired
from schemas.minting import Minted, MintOrder
from schemas.records import Command, Outcome, Request, StepState
from streams.checkpoint import ShardStore
from streams.contain_mint import tell
from streams.contain_words import doubt_row, forgery, page
from streams.metrics import Metrics
from streams.outbox import Outbox
from streams.topics import Topic

PAGE_EVERY_MS: Final = 600_000
_PAGED: Final = b"paged:doubts"


@dataclass(frozen=True)
class Trust:
    """Whose orders are believed, and for how long after they were signed."""

    public_keys: frozenset[str]
    max_age_s: float = 3600


class Gate:
    """In front of the contain stage. A record that it stops has no effect but a row, a count and, forged, a page."""

    def __init__(
        self, trust: Trust, *, store: ShardStore, outbox: Outbox, metrics: Metrics, now_ms: Callable[[], int]
    ) -> None:
        self._trust = trust
        self._store, self._outbox, self._metrics, self._now_ms = store, outbox, metrics, now_ms

    def admit(self, value: bytes, *, known: Callable[[Order], bool]) -> Order | Doubted:
        """The order, or why it must not act.

        What is `known` has begun or ended here: it goes on to its end however old it is. A freeze does not grow old,
        for one that is forgotten is worse than one too many.
        """
        order = believe(value, public_keys=self._trust.public_keys)
        if isinstance(order, Doubted) or known(order) or (isinstance(order, Request) and order.action == "freeze"):
            return order
        return expired(order, now_ms=self._now_ms(), max_age_s=self._trust.max_age_s) or order

    async def refuse(self, doubted: Doubted, value: bytes) -> None:
        """Write it down, and tell whoever waits for it."""
        now_ms, claim = self._now_ms(), doubted.claim
        self._metrics.inc("keyfuse_orders_doubted_total", rule=doubted.rule)
        await self._outbox.send(Topic.AUDIT, [("", doubt_row(doubted, value, now_ms=now_ms))])
        if isinstance(claim, Command):
            # A last word it is not: the real order of this id, if there is one, has its own end.
            await self._outbox.send(Topic.OUTCOMES, [(claim.key_id, _refused(claim, doubted, now_ms))])
        if doubted.rule != "expired":
            await self._page_now_and_then(forgery(doubted), now_ms)
        elif isinstance(claim, MintOrder):  # whoever asked waits for an answer
            await tell(self._outbox, claim, Minted(request_id=claim.request_id, at_ms=now_ms, error=doubted.words))
        elif isinstance(claim, Request):
            words = f"{claim.by} asked to {claim.action}, and it came too late: {doubted.words}"
            await self._outbox.send(Topic.INCIDENTS, [("keyfuse", page(words, now_ms=now_ms))])

    async def _page_now_and_then(self, words: str, now_ms: int) -> None:
        """Remembered, so that neither a flood nor a restart calls people again."""
        last = self._store.get(_PAGED)
        if last is not None and 0 <= now_ms - int(last) < PAGE_EVERY_MS:
            return
        await self._outbox.send(Topic.INCIDENTS, [("keyfuse", page(words, now_ms=now_ms))])
        await self._store.put(0, _PAGED, str(now_ms).encode())


def _refused(claim: Command, doubted: Doubted, now_ms: int) -> Outcome:
    return Outcome(
        command_id=claim.command_id, incident_id=claim.incident_id, key_id=claim.key_id, step=claim.step,
        state=StepState.REFUSED, at_ms=now_ms, rule=doubted.rule, detail=doubted.words,
    )  # fmt: skip
