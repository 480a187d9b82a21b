"""LiteLLM: holds, blocks or deletes a virtual key at the gateway. The provider's real key behind it goes on for others.

`provider_ref` is the key's hash as LiteLLM shows it, never the `sk-` value.

Each replica answers callers from a cache of its own, which busy callers keep alive: one that was not told goes on
serving a blocked key, while its admin API, which reads the shared database, already shows it blocked. So `base_url`
names every replica, each one is told, and a step counts as in effect only when each has confirmed it since Keyfuse
started.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import urlsplit

from pydantic import SecretStr

from containment.providers.base import Effect, StepSpec
from containment.providers.errors import Reason, Refused, Retryable
from containment.providers.http import JsonApi
from schemas.records import Step

THROTTLE: Final[Mapping[str, int]] = MappingProxyType({"rpm_limit": 1, "tpm_limit": 1000})
STEPS: Final[Mapping[Step, StepSpec]] = MappingProxyType(
    {
        "throttle": StepSpec(
            True, "key", 60, "The key may make 1 request and use 1,000 tokens a minute, at each replica."
        ),
        "block": StepSpec(
            True, "key", 60, "The gateway refuses the key; workers that `base_url` does not name may serve it a while."
        ),
        "revoke": StepSpec(False, "key", 60, "Deletes the virtual key for good; its users need a new one."),
    }
)
_HASH: Final = re.compile(r"[0-9a-fA-F]{64}")  # what LiteLLM takes for one; all else it refuses, but a key's value
T = TypeVar("T")


class _Replica(NamedTuple):
    where: str  # for people: " at host:port", empty when there is only one
    api: JsonApi


class _Info(NamedTuple):
    """A key as one replica lists it."""

    blocked: bool
    limits: dict[str, int | None]

    def throttled(self) -> bool:
        return all(limit is not None and limit <= THROTTLE[name] for name, limit in self.limits.items())


def addresses(base_url: str) -> tuple[str, ...]:
    """The replicas that `base_url` names, separated by commas.

    >>> addresses("http://a:4000, http://b:4000/")
    ('http://a:4000', 'http://b:4000')
    """
    return tuple(dict.fromkeys(part.strip().rstrip("/") for part in base_url.split(",") if part.strip()))


def steps_of(ref: str) -> Mapping[Step, StepSpec]:
    """The steps for one virtual key; nothing for a key's value, which has no place here."""
    return STEPS if _is_hash(ref) else {}


class LiteLLMProvider:
    """The proxy's key management API.

    Args:
        name: As events call the provider.
        secret: The master key or an admin's key.
        base_url: Where the proxy is: the address of each replica, separated by commas.
        timeout_s: For one call.
    """

    def __init__(self, name: str, secret: SecretStr, *, base_url: str, timeout_s: float = 10) -> None:
        self.name = name
        self.steps = STEPS
        found = addresses(base_url)
        headers = {"litellm-changed-by": "keyfuse"}
        self._replicas = [
            _Replica(
                f" at {urlsplit(address).netloc}" if len(found) > 1 else "",
                JsonApi(address, secret, timeout_s=timeout_s, headers=headers),
            )
            for address in found
        ]
        self._told: set[tuple[Step, str]] = set()  # which steps every replica has confirmed to this process

    def steps_of(self, ref: str) -> Mapping[Step, StepSpec]:
        return steps_of(ref)

    async def snapshot(self, ref: str) -> dict[str, str]:
        infos = await self._each(lambda replica: _read(replica, ref))
        limits = {name: "" if limit is None else str(limit) for name, limit in infos[0].limits.items()}
        return {"blocked": "yes" if all(info.blocked for info in infos) else "no", **limits}

    async def apply(self, step: Step, ref: str) -> str:
        self._known(step)
        if step == "revoke":
            return await self._delete(ref)
        if step == "throttle":
            return await self._throttle(ref)
        await self._each(lambda replica: _switch(replica, ref, "block"))
        self._told.add((step, ref))
        return "blocked"

    async def in_effect(self, step: Step, ref: str, *, pre_state: Mapping[str, str] | None = None) -> Effect:
        self._known(step)
        try:
            infos = await self._each(lambda replica: _read(replica, ref))
        except Refused as refused:
            if step == "revoke" and refused.reason is Reason.UNKNOWN_KEY:
                return Effect("yes", "the gateway does not know the key any more")
            raise
        if step == "revoke":
            return Effect("no", "the gateway still lists the key")
        held = all(info.throttled() if step == "throttle" else info.blocked for info in infos)
        return self._seen(step, ref, held=held)

    async def probe(self, step: Step, ref: str) -> Effect | None:
        return None

    async def undo(self, step: Step, ref: str, pre_state: Mapping[str, str]) -> str:
        self._known(step)
        if step == "revoke":
            raise Refused(Reason.FINAL, f"undo revoke of {ref}: a deleted key cannot come back; make a new one")
        if step == "throttle":
            before = {name: pre_state.get(name, "") for name in THROTTLE}
            limits = {name: int(limit) if limit.isdecimal() else None for name, limit in before.items()}
            await self._each(lambda replica: _update(replica, ref, limits))
            words = ", ".join(f"{name} {limit}" for name, limit in limits.items())
        elif pre_state.get("blocked") == "yes":
            return "left blocked, as it was before"
        else:
            await self._each(lambda replica: _switch(replica, ref, "unblock"))
            words = "unblocked"
        self._told.discard((step, ref))
        return words

    async def close(self) -> None:
        await asyncio.gather(*(replica.api.close() for replica in self._replicas))

    def _seen(self, step: Step, ref: str, *, held: bool) -> Effect:
        if not held:
            return Effect(
                "no", f"{step}: not every replica lists it" if len(self._replicas) > 1 else f"no {step} is set"
            )
        if len(self._replicas) == 1:
            return Effect("yes", f"the gateway lists it ({step})")
        count = len(self._replicas)
        if (step, ref) not in self._told:
            return Effect("unknown", f"{count} replicas list it ({step}), but not each has confirmed it to Keyfuse yet")
        return Effect("yes", f"each of {count} replicas has confirmed it ({step})")

    async def _throttle(self, ref: str) -> str:
        now = (await self._each(lambda replica: _read(replica, ref)))[0].limits
        # A limit of the owner's that is tighter stays.
        limits = {name: most if (own := now[name]) is None else min(own, most) for name, most in THROTTLE.items()}
        await self._each(lambda replica: _update(replica, ref, limits))
        self._told.add(("throttle", ref))
        return ", ".join(f"{name} {limit}" for name, limit in limits.items())

    async def _delete(self, ref: str) -> str:
        doing = f"delete {_checked(ref)}"
        try:
            if len(self._replicas) > 1:
                # Only the replica that deletes forgets the key; the others find nothing to delete and keep their cache.
                await self._each(lambda replica: _switch(replica, ref, "block"))
            answer = await self._replicas[0].api.call("POST", "/key/delete", doing, body={"keys": [ref]})
        except Refused as refused:
            if refused.reason is Reason.UNKNOWN_KEY:
                return "already gone: the gateway does not know this key"
            raise
        deleted = answer.get("deleted_keys")
        if not isinstance(deleted, list) or ref not in deleted:
            raise Retryable(Reason.NONSENSE, f"{doing}: the answer does not say that the key was deleted")
        return "deleted"

    async def _each(self, call: Callable[[_Replica], Awaitable[T]]) -> list[T]:
        """The same of every replica, at once. One that fails fails all; what cannot be helped by trying again first."""
        results = await asyncio.gather(*(call(replica) for replica in self._replicas), return_exceptions=True)
        failures = [result for result in results if isinstance(result, BaseException)]
        for failure in sorted(failures, key=lambda failure: isinstance(failure, Retryable)):
            raise failure
        return [result for result in results if not isinstance(result, BaseException)]

    def _known(self, step: Step) -> None:
        if step not in self.steps:
            raise Refused(Reason.NOT_SUPPORTED, f"{self.name} cannot {step} a key; it can {', '.join(self.steps)}")


async def _switch(replica: _Replica, ref: str, verb: str) -> None:
    try:
        await replica.api.call("POST", f"/key/{verb}", f"{verb} {_checked(ref)}{replica.where}", body={"key": ref})
    except Refused as refused:
        # Versions before March 2026 answer 401 for a key they do not know, with perfectly good credentials.
        # Reading the key tells which it was: it raises "unknown key" if that is the cause.
        if refused.reason is Reason.BAD_CREDENTIALS:
            await _read(replica, ref)
        raise


async def _update(replica: _Replica, ref: str, limits: Mapping[str, int | None]) -> None:
    doing = f"set limits of {_checked(ref)}{replica.where}"
    await replica.api.call("POST", "/key/update", doing, body={"key": ref, **limits})


async def _read(replica: _Replica, ref: str) -> _Info:
    doing = f"read {_checked(ref)}{replica.where}"
    answer = await replica.api.call("GET", "/key/info", doing, query={"key": ref})
    info: Any = answer.get("info")
    if not isinstance(info, dict) or not isinstance(info.get("blocked", ...), bool | None):
        raise Retryable(Reason.NONSENSE, f"{doing}: the answer does not say whether the key is blocked")
    limits = {name: info.get(name, ...) for name in THROTTLE}
    if any(isinstance(limit, bool) or not isinstance(limit, int | None) for limit in limits.values()):
        raise Retryable(Reason.NONSENSE, f"{doing}: the answer does not show the key's limits")
    return _Info(info["blocked"] is True, limits)  # null: never blocked


def _is_hash(ref: str) -> bool:
    return _HASH.fullmatch(ref) is not None


def _checked(ref: str) -> str:
    if not _is_hash(ref):
        raise Refused(
            Reason.BAD_REF, "provider_ref must be the key's hash (64 hex digits) for LiteLLM, never its value"
        )
    return ref
