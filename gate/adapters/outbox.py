"""What is told after a call: settlements to the gate, usage events to the intake. In a thread of its own.

A call never waits for it. What cannot be delivered is kept and tried again; when more waits than may be kept, the
oldest goes, counted and logged. Nothing is lost silently.
"""

from __future__ import annotations

import itertools
import json
import logging
import threading
import time
from collections import deque
from typing import Any, Final

import httpx

from gate.adapters.settings import Settings

_LOG: Final = logging.getLogger("keyfuse.adapter")
_BATCH: Final = 500  # events in one request
_PAUSES_S: Final = (0.2, 0.5, 1.0, 2.0, 5.0)  # between tries while the other side is away
_FINAL: Final = frozenset({400, 404, 405, 413, 415, 422})  # the same again would be refused again
_TROUBLES: Final = ("lost_settlements", "lost_events", "refused_settlements", "refused_events")


class Outbox:
    """Settlements and events on their way. `close` delivers what it can within its time.

    Args:
        settings: Where gate and intake are; without an intake's address events are not told.
        transport: For tests; httpx's own otherwise.
    """

    def __init__(self, settings: Settings, *, transport: httpx.BaseTransport | None = None) -> None:
        self.counts = dict.fromkeys(("settled", "told", *_TROUBLES), 0)
        self._settings = settings
        self._transport = transport
        self._settlements: deque[dict[str, Any]] = deque()
        self._events: deque[dict[str, Any]] = deque()
        self._wake = threading.Condition()
        self._closing_by: float | None = None  # monotonic
        self._thread: threading.Thread | None = None

    def settle(self, settlement: dict[str, Any]) -> None:
        self._put(self._settlements, settlement, "lost_settlements")

    def tell(self, event: dict[str, Any]) -> None:
        if self._settings.intake_url:
            self._put(self._events, event, "lost_events")

    def waiting(self) -> int:
        """How much is not delivered yet."""
        return len(self._settlements) + len(self._events)

    def close(self, within_s: float = 5.0) -> None:
        """Delivers what waits; what is left after `within_s` is lost, counted and logged."""
        with self._wake:
            self._closing_by = time.monotonic() + within_s
            self._wake.notify()
        if self._thread is not None:
            self._thread.join(within_s + self._settings.tell_timeout_s)
            self._thread = None
        for kept, count in ((self._settlements, "lost_settlements"), (self._events, "lost_events")):
            if kept:
                self._lost(count, len(kept), "the process ends")
                kept.clear()
        self._closing_by = None

    def _put(self, kept: deque[dict[str, Any]], one: dict[str, Any], count: str) -> None:
        with self._wake:
            if len(kept) >= self._settings.kept:
                kept.popleft()
                self._lost(count, 1, f"more than {self._settings.kept} wait")
            kept.append(one)
            if self._thread is None or not self._thread.is_alive():  # also in a process that was forked meanwhile
                self._thread = threading.Thread(target=self._run, name="keyfuse outbox", daemon=True)
                self._thread.start()
            self._wake.notify()

    def _lost(self, count: str, how_many: int, why: str) -> None:
        before = self.counts[count]
        self.counts[count] += how_many
        if before == 0 or before // 1000 != self.counts[count] // 1000:  # the first, then every thousandth
            _LOG.error("%s: %d so far; %s", count.replace("_", " "), self.counts[count], why)

    def _run(self) -> None:
        timeout = httpx.Timeout(self._settings.tell_timeout_s)
        with httpx.Client(timeout=timeout, transport=self._transport, trust_env=False) as http:
            failures = 0
            while self._wait(failures):
                failures = 0 if self._deliver(http) else failures + 1
                if failures == 1:
                    _LOG.warning("gate or intake do not take what is told: %d wait", self.waiting())

    def _wait(self, failures: int) -> bool:
        """Until there is something to do and it is time to try; False: the end."""
        with self._wake:
            if failures and self._closing_by is not None:
                self._wake.wait(min(_PAUSES_S[0], max(0.0, self._closing_by - time.monotonic())))
            elif failures:
                self._wake.wait_for(self._ends, _PAUSES_S[min(failures, len(_PAUSES_S)) - 1])
            else:
                self._wake.wait_for(lambda: self.waiting() or self._ends())
                if self._events and not self._settlements:
                    self._wake.wait_for(self._full, self._settings.gather_s)
            if self._closing_by is None:
                return True
            return self.waiting() > 0 and time.monotonic() < self._closing_by

    def _ends(self) -> bool:
        return self._closing_by is not None

    def _full(self) -> bool:
        return len(self._events) >= _BATCH or bool(self._settlements) or self._ends()

    def _deliver(self, http: httpx.Client) -> bool:
        """One round; False when something is left that could not go."""
        settled = all(self._settle_one(http) for _ in range(len(self._settlements)))
        told = not self._events or self._tell_some(http)
        return settled and told

    def _settle_one(self, http: httpx.Client) -> bool:
        if not self._settlements:
            return True
        settlement = self._settlements[0]
        status = self._post(http, f"{self._settings.gate_url}/v1/settle", settlement, self._settings.gate_token)
        if status is None:
            return False
        self._drop(self._settlements, [settlement])
        self._counted(status, 1, "settled", "refused_settlements")
        return True

    def _tell_some(self, http: httpx.Client) -> bool:
        with self._wake:
            some = list(itertools.islice(self._events, _BATCH))
        status = self._post(http, f"{self._settings.intake_url}/v1/events", some, self._settings.intake_token)
        if status is None:
            return False
        if status in _FINAL and len(some) > 1:  # one of them is bad: the others must not go with it
            return all(self._tell_alone(http, event) for event in some)
        self._told(status, some)
        return True

    def _tell_alone(self, http: httpx.Client, event: dict[str, Any]) -> bool:
        status = self._post(http, f"{self._settings.intake_url}/v1/events", [event], self._settings.intake_token)
        if status is not None:
            self._told(status, [event])
        return status is not None

    def _told(self, status: int, some: list[dict[str, Any]]) -> None:
        self._drop(self._events, some)
        self._counted(status, len(some), "told", "refused_events")

    def _counted(self, status: int, how_many: int, taken: str, refused: str) -> None:
        if status in _FINAL:
            self._lost(refused, how_many, f"answered {status}")
        else:
            self.counts[taken] += how_many

    def _drop(self, kept: deque[dict[str, Any]], some: list[dict[str, Any]]) -> None:
        """Those that went; some may have been lost from the front meanwhile."""
        with self._wake:
            for one in some:
                if kept and kept[0] is one:
                    kept.popleft()

    def _post(self, http: httpx.Client, url: str, what: object, token: str) -> int | None:
        """The status; None: to be tried again."""
        headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {token}"} if token else {})
        try:
            status = http.post(url, content=json.dumps(what, default=str).encode(), headers=headers).status_code
        except httpx.HTTPError:
            return None
        return status if status < 400 or status in _FINAL else None
