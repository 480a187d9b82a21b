"""One call, watched until its answer is through: then settled, and told as an event. For those that see the bytes."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import Any, Final

from gate.adapters.outbox import Outbox
from gate.adapters.settings import Settings
from gate.adapters.usage import Reader, Used
from gate.adapters.wire import Answer

_BYTES_PER_TOKEN: Final = 4


class Watch:
    """Told what the answer is, piece by piece. `over` may be said more than once; the first counts.

    Args:
        question: What the gate was asked.
        answer: What it said.
        now_s: The wall clock.
    """

    def __init__(
        self,
        question: Mapping[str, Any],
        answer: Answer,
        *,
        outbox: Outbox,
        settings: Settings,
        now_s: Callable[[], float],
    ) -> None:
        self._question, self._answer = question, answer
        self._outbox, self._settings, self._now_s = outbox, settings, now_s
        self._began_s = now_s()
        self._status = 0
        self._reader: Reader | None = None
        self._over = False

    def began(self, status: int, headers: Mapping[str, str]) -> None:
        """The answer's head is here. An encoded body is not looked into."""
        self._status = status
        if headers.get("content-encoding", "identity") == "identity":
            self._reader = Reader(headers.get("content-type", ""))

    def feed(self, piece: bytes) -> None:
        if self._reader is not None:
            self._reader.feed(piece)

    def refused(self) -> None:
        """The gate said no: nothing was used, and it is evidence."""
        self._status = self._answer.status
        self.over()

    def over(self) -> None:
        """All of it is through, or the client or the provider went away."""
        if self._over:
            return
        self._over = True
        used = self._used()
        if self._answer.reservation and used is not None:
            tokens = {"input_tokens": used.input_tokens, "output_tokens": used.output_tokens}
            self._outbox.settle({"reservation": self._answer.reservation} | tokens)
        if self._question.get("model") or not self._answer.passes:
            self._outbox.tell(self._event(used or Used()))

    def _used(self) -> Used | None:
        """None: not known; then the gate counts what it reserved."""
        if not 200 <= self._status < 400:  # refused, failed or never answered
            return Used()
        if self._reader is None:
            return None
        used = self._reader.used()
        if used.known or not self._reader.pieces:
            return used if used.known else None
        guess = -(-int(self._question.get("input_bytes", 0)) // _BYTES_PER_TOKEN)
        return used._replace(input_tokens=guess, output_tokens=self._reader.pieces)

    def _event(self, used: Used) -> dict[str, Any]:
        asked, answer = self._question, self._answer
        who = {"key_id": answer.key_id or asked.get("key_id")} if answer.key_id or "key_id" in asked else {}
        tokens = {name: value for name, value in used._asdict().items() if name.endswith("_tokens") and value}
        copied = {name: asked[name] for name in ("endpoint", "ip", "user_agent", "user_id") if name in asked}
        return {
            "event_id": uuid.uuid4().hex,
            "ts": round(self._began_s * 1000),
            "provider": self._settings.provider,
            "model": used.model or answer.model or asked.get("model") or "unknown",
            "status": self._status,
            "latency_ms": max(0.0, (self._now_s() - self._began_s) * 1000),
            **(who or {"key": asked.get("key")}),
            **copied,
            **tokens,
        }
