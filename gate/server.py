"""The gate over HTTP: bytes in, bytes out, nothing awaited. What carries the bytes is `gate.http`'s affair."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import orjson
from pydantic import SecretStr

from gate.asks import Wrong, authorize_of, settle_of
from gate.decide import Answer
from gate.savings import Decides

MAX_BODY_BYTES: Final = 65_536
_JSON: Final = b"application/json"


class Asked(NamedTuple):
    """One request. Names of headers are in small letters."""

    headers: Mapping[bytes, bytes]
    body: bytes


class Reply(NamedTuple):
    """One answer."""

    status: int
    body: bytes
    content_type: bytes = _JSON
    headers: tuple[tuple[bytes, bytes], ...] = ()


Handler = Callable[[Asked], Reply]
Beneath = Callable[[bytes, bytes, Asked], Reply]  # method, path


@dataclass(frozen=True)
class Edge:
    """What the server is given from outside."""

    decider: Decides
    fingerprint: Callable[[str], str]
    now_ms: Callable[[], int]
    tick_ms: Callable[[], int]  # a clock that never jumps
    token: SecretStr | None
    problems: Callable[[], list[str]]  # why it is not ready, or should not be trusted; empty: all is well
    metrics: Callable[[], bytes]
    details: Callable[[], dict[str, Any]] = field(default=dict)  # besides, for `/healthz`
    stale_s: Callable[[], float | None] = lambda: None  # how old what is known is, while the broker is away
    failed: Callable[[Exception], None] = lambda _: None  # a mistake of the gate's own, to be told


class GateServer:
    """`(method, path)` → what answers it."""

    def __init__(self, edge: Edge) -> None:
        self.edge = edge
        self._beneath: list[tuple[bytes, Beneath]] = []
        self._token = edge.token.get_secret_value().encode() if edge.token else b""
        self.routes: dict[tuple[bytes, bytes], Handler] = {
            (b"POST", b"/v1/authorize"): self.guarded(self._authorize),
            (b"POST", b"/v1/settle"): self.guarded(self._settle),
            (b"GET", b"/healthz"): self._health,
            (b"GET", b"/readyz"): self._ready,
            (b"GET", b"/metrics"): self._metrics,
        }

    def answer(self, method: bytes, path: bytes, asked: Asked) -> Reply:
        """Whatever goes wrong, the call is refused: an odd one must not pass as if the gate were away."""
        try:
            return self._answer(method, path, asked)
        except Exception as error:
            self.edge.failed(error)
            return problem(400, "the gate cannot judge this; its log says why")

    def _answer(self, method: bytes, path: bytes, asked: Asked) -> Reply:
        handler = self.routes.get((b"GET" if method == b"HEAD" else method, path))
        if handler is not None:
            return handler(asked)
        for beginning, others in self._beneath:
            if path.startswith(beginning):
                return others(method, path, asked)
        known = sorted({f"{m.decode()} {p.decode()}" for m, p in self.routes})
        return problem(404, f"no such address; there are {', '.join(known)}")

    def beneath(self, beginning: bytes, handler: Beneath) -> None:
        """Answers every method on every path that begins so."""
        self._beneath.append((beginning, handler))

    def guarded(self, handler: Handler) -> Handler:
        """Only for who gives the token, where there is one."""
        if not self._token:
            return handler

        def checked(asked: Asked) -> Reply:
            scheme, _, given = asked.headers.get(b"authorization", b"").partition(b" ")
            if scheme.lower() != b"bearer" or not hmac.compare_digest(given.strip(), self._token):
                return problem(401, "wrong or missing bearer token", ((b"www-authenticate", b"Bearer"),))
            return handler(asked)

        return checked

    def _authorize(self, asked: Asked) -> Reply:
        edge = self.edge
        call = authorize_of(asked.body, fingerprint=edge.fingerprint, at_ms=edge.now_ms())
        if isinstance(call, list):
            return refused(call)
        answer = shown(edge.decider.authorize(call, edge.tick_ms()))
        stale_s = edge.stale_s()
        if stale_s is not None:
            answer["news_age_s"] = round(stale_s, 1)
        return Reply(200, orjson.dumps(answer))

    def _settle(self, asked: Asked) -> Reply:
        said = settle_of(asked.body)
        if isinstance(said, list):
            return refused(said)
        settled = self.edge.decider.settle(*said, self.edge.now_ms())
        return Reply(200, orjson.dumps({"state": settled.state, "reason": settled.reason}))

    def _health(self, _: Asked) -> Reply:
        problems = self.edge.problems()
        report = {"healthy": not problems, "problems": problems, **self.edge.details()}
        return Reply(200 if not problems else 503, orjson.dumps(report))

    def _ready(self, _: Asked) -> Reply:
        problems = self.edge.problems()
        return Reply(200 if not problems else 503, orjson.dumps({"ready": not problems, "problems": problems}))

    def _metrics(self, _: Asked) -> Reply:
        return Reply(200, self.edge.metrics(), b"text/plain; version=0.0.4")


def shown(answer: Answer) -> dict[str, Any]:
    """The answer as it travels: what is empty is left out, but for the words."""
    found: dict[str, Any] = {
        "state": answer.state, "key_id": answer.key_id, "reason": answer.reason, "rule": answer.rule,
    }  # fmt: skip
    if answer.retry_after_s is not None:
        found["retry_after_s"] = answer.retry_after_s
    if answer.model:
        found["model"] = answer.model
    if answer.reservation:
        found["reservation"] = answer.reservation
    if answer.use_instead:
        found["use_instead"] = answer.use_instead
    return found


def refused(wrong: list[Wrong]) -> Reply:
    """400, with every field that is wrong."""
    errors = [{"field": each.field, "detail": each.detail} for each in wrong]
    return Reply(400, orjson.dumps({"detail": "the request is not as it should be", "errors": errors}))


def problem(status: int, detail: str, headers: tuple[tuple[bytes, bytes], ...] = ()) -> Reply:
    return Reply(status, orjson.dumps({"detail": detail}), headers=headers)
