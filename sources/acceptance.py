"""What the HTTP intake takes: a whole body or nothing, cleaned of secrets before it is published."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import orjson

from schemas.event import UsageEvent
from schemas.fingerprint import Fingerprinter
from sources.envelope import Refusal, open_value
from sources.texts import TextColumns
from sources.verdict import given, judge, to_native

CHUNK_BYTES: Final = 900_000  # below Kafka's usual limit of 1 MB for a record


@dataclass(frozen=True, slots=True)
class Accepted:
    """NDJSON values of native events, each under CHUNK_BYTES, that hold no secret."""

    values: list[bytes]
    events: int


@dataclass(frozen=True, slots=True)
class Refused:
    """Everything that is wrong with the body, in its order. Nothing of it may be published."""

    refusals: list[Refusal]


class Acceptor:
    """Checks bodies against the event model. Times later than `max_future_s` from now are refused; None: any."""

    def __init__(self, *, fingerprinter: Fingerprinter, max_future_s: int | None = 30) -> None:
        self._texts = TextColumns(fingerprinter)
        self._max_future_s = max_future_s

    def accept(self, body: bytes, *, forced: str | None, now_ms: int) -> Accepted | Refused:
        """`forced` is the name of a format; None looks at each event's shape."""
        latest_ms = None if self._max_future_s is None else now_ms + self._max_future_s * 1000
        found, refusals = open_value(body, max_bytes=len(body))
        events: list[UsageEvent] = []
        for at, doc in found:
            verdict = _verdict(doc, at, forced=forced, latest_ms=latest_ms)
            if isinstance(verdict, UsageEvent):
                events.append(verdict)
            else:
                refusals.append(verdict)
        if refusals:
            return Refused(sorted(refusals, key=lambda refusal: refusal.index))
        return Accepted(_chunks(self._cleaned(events)), len(events))

    def _cleaned(self, events: list[UsageEvent]) -> list[dict[str, Any]]:
        """Native events with a `key_id` and without `key`, secrets in other texts redacted."""
        docs = [given(event) for event in events]
        self._texts.clean(docs)
        return docs


def _verdict(doc: object, at: int, *, forced: str | None, latest_ms: int | None) -> UsageEvent | Refusal:
    native = to_native(doc, forced)
    if isinstance(native, dict):
        return judge(native, at, latest_ms)
    reason, detail = native
    return Refusal(at, reason, detail=detail)


def _chunks(docs: list[dict[str, Any]]) -> list[bytes]:
    chunks: list[list[bytes]] = []
    size = CHUNK_BYTES
    for line in map(orjson.dumps, docs):
        if size + len(line) + 1 > CHUNK_BYTES:
            chunks.append([])
            size = 0
        chunks[-1].append(line)
        size += len(line) + 1
    return [b"\n".join(lines) for lines in chunks]
