"""Asking the gate before a call: one short try over a kept-alive connection, and what holds when nothing comes back."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections import OrderedDict
from typing import Any, Final

import httpx

from gate.adapters.settings import Settings
from gate.adapters.wire import Answer, answer_of

_LOG: Final = logging.getLogger("keyfuse.adapter")
_REMEMBERED: Final = 100_000  # keys
_PATIENCE: Final = 3  # failures one after the other before calls no longer wait for the gate ...
_REST_S: Final = 1.0  # ... but for one try in this time
_BAD: Final = Answer("deny", "the gate cannot judge a call like this", "gate.bad_question")
_LIMITS: Final = httpx.Limits(max_keepalive_connections=32, keepalive_expiry=60)


class Memory:
    """What the gate last said of each key, and whether it answers at all. Holds no secret: keys are hashed.

    While the gate is away a key that it refused stays refused. For the others holds the adapter's own setting.
    """

    def __init__(self, settings: Settings) -> None:
        self.counts = dict.fromkeys(("asked", "refused", "degraded", "away"), 0)
        self._otherwise = settings.fail
        self._last: OrderedDict[bytes, Answer] = OrderedDict()
        self._failures = 0
        self._rests_until_s = 0.0

    def may_ask(self, now_s: float) -> bool:
        """False while the gate is known to be away; one call in a second finds out whether it is back."""
        if self._failures < _PATIENCE or now_s >= self._rests_until_s:
            self._rests_until_s = now_s + _REST_S
            return True
        return False

    def told(self, who: str, answer: Answer) -> Answer:
        """The gate answered."""
        if self._failures >= _PATIENCE:
            _LOG.warning("the gate answers again")
        self._failures = 0
        self.counts["asked"] += 1
        self.counts["refused"] += not answer.passes
        self.counts["degraded"] += answer.state == "degrade"
        hashed = _hashed(who)
        self._last[hashed] = answer._replace(reservation="")
        self._last.move_to_end(hashed)
        if len(self._last) > _REMEMBERED:
            self._last.popitem(last=False)
        return answer

    def odd(self) -> Answer:
        """No gate can be asked this: refused, and no word on whether the gate is there."""
        self.counts["refused"] += 1
        return _BAD

    def failed(self, why: str) -> None:
        """It did not."""
        self._failures += 1
        if self._failures == _PATIENCE:
            _LOG.error("the gate does not answer (%s): refused keys stay refused, others fail %s", why, self._otherwise)

    def without(self, who: str) -> Answer:
        """What holds meanwhile."""
        self.counts["away"] += 1
        last = self._last.get(_hashed(who), Answer())
        if last.stays:
            self.counts["refused"] += 1
            return last
        known = Answer(key_id=last.key_id, away=True)
        if self._otherwise == "open":
            return known
        self.counts["refused"] += 1
        return known._replace(state="deny", rule="gate away", reason="the gate does not answer; try again later")

    def known(self, who: str) -> bool:
        """Whether the gate ever let this key pass."""
        last = self._last.get(_hashed(who))
        return last is not None and not last.stays


def _hashed(who: str) -> bytes:
    return hashlib.blake2b(who.encode("utf-8", "replace"), digest_size=16).digest()


class AsyncGate:
    """The gate, for code in an event loop."""

    def __init__(self, settings: Settings, *, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self.memory = Memory(settings)
        self._url = f"{settings.gate_url}/v1/authorize"
        self._http = httpx.AsyncClient(
            timeout=settings.timeout_s, headers=_headers(settings), limits=_LIMITS, transport=transport, trust_env=False
        )

    async def ask(self, question: dict[str, Any]) -> Answer:
        """Never raises: when the gate does not answer, the answer says so."""
        who, content = _who(question), _content(question)
        if content is None:
            return self.memory.odd()
        if self.memory.may_ask(time.monotonic()):
            try:
                return self.memory.told(who, _read(await self._http.post(self._url, content=content)))
            except (httpx.HTTPError, ValueError) as problem:
                self.memory.failed(_why(problem))
        return self.memory.without(who)

    async def close(self) -> None:
        await self._http.aclose()


class Gate:
    """The gate, for code in threads."""

    def __init__(self, settings: Settings, *, transport: httpx.BaseTransport | None = None) -> None:
        self.memory = Memory(settings)
        self._url = f"{settings.gate_url}/v1/authorize"
        self._http = httpx.Client(
            timeout=settings.timeout_s, headers=_headers(settings), limits=_LIMITS, transport=transport, trust_env=False
        )

    def ask(self, question: dict[str, Any]) -> Answer:
        """Never raises: when the gate does not answer, the answer says so."""
        who, content = _who(question), _content(question)
        if content is None:
            return self.memory.odd()
        if self.memory.may_ask(time.monotonic()):
            try:
                return self.memory.told(who, _read(self._http.post(self._url, content=content)))
            except (httpx.HTTPError, ValueError) as problem:
                self.memory.failed(_why(problem))
        return self.memory.without(who)

    def close(self) -> None:
        self._http.close()


def _headers(settings: Settings) -> dict[str, str]:
    token = {"authorization": f"Bearer {settings.gate_token}"} if settings.gate_token else {}
    return token | {"content-type": "application/json"}


def _content(question: dict[str, Any]) -> bytes | None:
    """In ASCII: half a character of a client's stays what it is, and the gate says what it thinks of it.

    None for what is no JSON. Neither may count as a gate that is away, or a client could have all others let pass.
    """
    try:
        return json.dumps(question).encode()
    except (TypeError, ValueError):
        return None


def _who(question: dict[str, Any]) -> str:
    return str(question.get("key_id") or question.get("key") or "")


def _read(response: httpx.Response) -> Answer:
    """A question that the gate cannot take is refused: else an odd call would get past every rule."""
    if response.status_code in {400, 413, 422}:
        return _BAD
    response.raise_for_status()
    return answer_of(response.json())


def _why(problem: Exception) -> str:
    return str(problem) or type(problem).__name__
