"""`/v1/check` on the gate's own core: proxies that never say what a call came to.

What is reserved for such a call is given back after a time, by when its usage event has told the real cost.
"""

from __future__ import annotations

import hmac
from collections import deque
from typing import Final

import orjson

from gate.adapters.wire import Answer, answer_of
from gate.asks import authorize_of
from gate.check import TOKEN_HEADER, Checked, checked, question_from
from gate.decide import Used
from gate.server import Asked, Edge, Reply, shown

HOLD_MS: Final = 60_000
_NO_TOKEN: Final = Answer("deny", f"the proxy's {TOKEN_HEADER} is not the gate's token", "gate.token_env")
_BAD: Final = Answer("deny", "the gate cannot judge a call like this", "gate.bad_question")


class Checks:
    """The handler of everything beneath `/v1/check`."""

    def __init__(self, edge: Edge, *, hold_ms: float = HOLD_MS) -> None:
        self._edge, self._hold_ms = edge, hold_ms
        self._token = edge.token.get_secret_value().encode() if edge.token else b""
        self._held: deque[tuple[float, str]] = deque()  # until when, reservation

    def answer(self, method: bytes, path: bytes, asked: Asked) -> Reply:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in asked.headers.items()}
        if self._token and not hmac.compare_digest(headers.get(TOKEN_HEADER, "").encode(), self._token):
            return _reply(checked(_NO_TOKEN, headers=headers))
        self._give_back()
        question = question_from(method.decode("latin-1"), path.decode("latin-1"), headers, asked.body)
        answer = question if isinstance(question, Answer) else self._decide(question)
        return _reply(checked(answer, headers=headers))

    def _decide(self, question: dict[str, object]) -> Answer:
        edge = self._edge
        try:
            asked = orjson.dumps(question)
        except orjson.JSONEncodeError:  # half a character, a number without end
            return _BAD
        call = authorize_of(asked, fingerprint=edge.fingerprint, at_ms=edge.now_ms())
        if isinstance(call, list):
            return _BAD
        tick_ms = edge.tick_ms()
        answer = answer_of(shown(edge.decider.authorize(call, tick_ms)))
        if answer.reservation:
            self._held.append((tick_ms + self._hold_ms, answer.reservation))
        return answer

    def _give_back(self) -> None:
        tick_ms = self._edge.tick_ms()
        while self._held and self._held[0][0] <= tick_ms:
            self._edge.decider.settle(self._held.popleft()[1], Used(), self._edge.now_ms())


def _reply(told: Checked) -> Reply:
    named = ((name.encode(), value.encode("latin-1")) for name, value in told.headers.items())
    return Reply(told.status, told.body, headers=tuple(pair for pair in named if pair[0] != b"content-type"))
