"""An open-loop load generator for gates: each call is due at a time of its own, whatever became of those before.

Latency is counted from when a call was due, not from when it could be sent: a gate that stalls pays for every call that
it kept waiting (no coordinated omission). Arrivals are random (Poisson). Every call that is let through is settled a
second later; settles are load too, and are not in the figures.
"""

from __future__ import annotations

import select
import socket
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

CONNECTIONS: Final = 128
_SETTLE_AFTER_NS: Final = 1_000_000_000
_LOOK_NS: Final = 10_000_000


@dataclass
class Measured:
    """What came of one run. Times in microseconds."""

    latency_us: list[float] = field(default_factory=list)
    late_us: list[float] = field(default_factory=list)  # how long after it was due a call was sent
    settles: int = 0
    requests: int = 0  # all, also those before the counting began
    failed: int = 0

    def figures(self) -> dict[str, Any]:
        at = np.percentile(self.latency_us, [50, 99, 99.9, 100])
        return {
            "calls": len(self.latency_us), "settles": self.settles, "failed": self.failed,
            "p50_us": round(at[0]), "p99_us": round(at[1]), "p999_us": round(at[2]), "max_us": round(at[3]),
            "sent_late_p99_us": round(np.percentile(self.late_us, 99)),
        }  # fmt: skip


def request(path: str, body: bytes) -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nhost: gate\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Load:
    """One run against one port."""

    def __init__(self, port: int, calls: list[bytes], *, settle: bool = True) -> None:
        self._calls = [request("/v1/authorize", body) for body in calls]
        self._settle = settle
        self._socks = [_connect(port) for _ in range(CONNECTIONS)]
        self._free = list(self._socks)
        self._busy: set[socket.socket] = set()
        self._due: dict[int, int] = {}  # by connection: when its call was due; 0: a settle
        self._partly: dict[int, bytes] = {}
        self._waiting: deque[tuple[int, bytes]] = deque()
        self._to_settle: deque[tuple[int, bytes]] = deque()
        self.measured = Measured()

    def run(self, per_s: float, seconds: float, *, seed: int, warm_s: float = 1.0) -> Measured:
        """The first `warm_s` are not counted."""
        gaps = np.random.default_rng(seed).exponential(1e9 / per_s, int(per_s * (seconds + warm_s)))
        start = time.perf_counter_ns() + 5_000_000
        due = (start + np.cumsum(gaps)).astype(np.int64).tolist()
        self._counted_from = start + int(warm_s * 1e9)
        number, calls, count = 0, self._calls, len(due)
        while number < count or self._waiting or self._due:
            now = time.perf_counter_ns()
            while number < count and due[number] <= now:
                self._send(due[number], calls[number % len(calls)])
                number += 1
            while self._to_settle and self._to_settle[0][0] <= now:
                self._send(0, self._to_settle.popleft()[1])
            next_due = due[number] if number < count else now + _LOOK_NS
            if self._to_settle:
                next_due = min(next_due, self._to_settle[0][0])
            wait_ns = next_due - time.perf_counter_ns()
            for sock in select.select(self._busy, (), (), max(0, wait_ns) / 1e9)[0]:
                self._receive(sock)
        for sock in self._socks:
            sock.close()
        return self.measured

    def _send(self, due: int, what: bytes) -> None:
        if not self._free:
            self._waiting.append((due, what))
            return
        sock = self._free.pop()
        self._busy.add(sock)
        self._due[sock.fileno()] = due
        sock.send(what)
        if due > self._counted_from:
            self.measured.late_us.append((time.perf_counter_ns() - due) / 1000)

    def _receive(self, sock: socket.socket) -> None:
        answer = self._partly.pop(sock.fileno(), b"") + sock.recv(65536)
        now = time.perf_counter_ns()
        if not _whole(answer):
            self._partly[sock.fileno()] = answer
            return
        due = self._due.pop(sock.fileno())
        self.measured.requests += 1
        if not answer.startswith(b"HTTP/1.1 200"):
            self.measured.failed += 1
        if due > self._counted_from:
            self.measured.latency_us.append((now - due) / 1000)
        if due and self._settle:
            self._settle_later(answer, now)
        elif not due:
            self.measured.settles += 1
        self._free.append(sock)
        self._busy.discard(sock)
        if self._waiting:
            self._send(*self._waiting.popleft())

    def _settle_later(self, answer: bytes, now: int) -> None:
        _, found, rest = answer.partition(b'"reservation":"')
        if found:
            name = rest[: rest.index(b'"')]
            body = b'{"reservation":"%b","input_tokens":900,"output_tokens":200}' % name
            self._to_settle.append((now + _SETTLE_AFTER_NS, request("/v1/settle", body)))


def _whole(answer: bytes) -> bool:
    head, found, body = answer.partition(b"\r\n\r\n")
    return bool(found) and len(body) >= int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])


def _connect(port: int) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock
