"""One call to a provider: timed out, audited, its failure always ours. And the pauses between them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from containment.providers.base import Provider
from containment.providers.errors import ProviderError, Reason, Refused, Retryable
from schemas.config.responses import RetryConfig
from schemas.records import AuditRow, Command, stable_id

T = TypeVar("T")
CHANGING: Final = frozenset({"apply", "undo"})
MAX_RETRY_AFTER_S: Final = 300.0  # a provider that asks for longer is treated as asking for this


class Calls:
    """The calls of one command; counts them and writes an audit row for each."""

    def __init__(
        self,
        command: Command,
        provider: Provider,
        *,
        retry: RetryConfig,
        now_ms: Callable[[], int],
        sleep: Callable[[float], Awaitable[None]],
        audit: Callable[[AuditRow], Awaitable[None]],
    ) -> None:
        self.command = command
        self.provider = provider
        self.ref = command.facts.provider_ref or command.key_id
        self.retry = retry
        self.now_ms = now_ms
        self.sleep = sleep
        self.changes = 0
        self._audit = audit
        self._made = 0
        self._rng = random.Random(f"{command.command_id}/calls")

    async def once(self, action: str, call: Callable[[], Awaitable[T]]) -> T:
        """Make the call. Raises ProviderError only; what the audit raises is raised too."""
        self._made += 1
        self.changes += action in CHANGING
        started_ms = self.now_ms()
        try:
            answer = await self._guarded(action, call)
        except ProviderError as error:
            await self._note(action, started_ms, "failed", str(error), reason=error.reason)
            raise
        await self._note(action, started_ms, "ok", _words(answer))
        return answer

    async def patiently(self, action: str, call: Callable[[], Awaitable[T]]) -> T:
        """A call that only reads: tried again while the failure is a passing one."""
        for attempt in range(1, self.retry.attempts):
            try:
                return await self.once(action, call)
            except Retryable as error:
                await self.sleep(pause_s(attempt, self.retry, self._rng, error))
        return await self.once(action, call)

    async def _guarded(self, action: str, call: Callable[[], Awaitable[T]]) -> T:
        try:
            async with asyncio.timeout(self.retry.timeout_s):
                return await call()
        except ProviderError:
            raise
        except TimeoutError:
            raise Retryable(Reason.TIMEOUT, f"{action} {self.ref}: no answer in {self.retry.timeout_s:g} s") from None
        except Exception as exc:
            # The boundary: a defect in an adapter must end as a page to a person, never as a command in the unknown.
            raise Refused(Reason.DEFECT, f"{action} {self.ref}: the adapter broke ({type(exc).__name__})") from exc

    async def _note(self, action: str, started_ms: int, result: str, answer: str, *, reason: str = "") -> None:
        command, at_ms = self.command, self.now_ms()
        row = AuditRow(
            audit_id=stable_id("aud", command.command_id, self._made, action, at_ms),
            at_ms=at_ms,
            actor=command.by,
            action=f"{command.step}.{action}",
            key_id=command.key_id,
            incident_id=command.incident_id,
            command_id=command.command_id,
            result=result,
            detail={
                "provider": self.provider.name,
                "ref": self.ref,
                "answer": answer,
                "reason": str(reason),
                "call": self._made,
                "attempt": self.changes,
                "took_ms": at_ms - started_ms,
                "approvals": list(command.approvals),
            },
        )
        await self._audit(row)


def pause_s(attempt: int, retry: RetryConfig, rng: random.Random, error: ProviderError | None) -> float:
    """Pause after the given attempt (from 1): doubling, half of it by chance, never shorter than the provider asks."""
    full = min(retry.wait_max_s, retry.wait_initial_s * 2.0 ** (attempt - 1))
    asked = (error.retry_after_s or 0.0) if isinstance(error, Retryable) else 0.0
    return max(full * (0.5 + rng.random() / 2), min(asked, MAX_RETRY_AFTER_S))


def _words(answer: object) -> str:
    """An answer as the audit keeps it: an effect as "state: words", a pre-state as its fields."""
    match answer:
        case None:
            return "not possible here"
        case (str(state), str(words)):
            return f"{state}: {words}"
        case dict():
            return ", ".join(f"{name}={value}" for name, value in answer.items())
        case _:
            return str(answer)
