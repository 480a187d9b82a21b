"""OpenRouter: a key can be held to a little more money, disabled (and enabled again), or deleted.

`provider_ref` is the key's hash as OpenRouter's list of keys shows it, never its `sk-or-` value. The management key
that this needs cannot call a model.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Final

from pydantic import BaseModel, Field, SecretStr, ValidationError

from containment.providers.base import Effect, StepSpec
from containment.providers.errors import Reason, Refused, Retryable
from containment.providers.http import JsonApi
from schemas.config.wiring import ProviderConfig
from schemas.records import Step

BASE_URL: Final = "https://openrouter.ai/api/v1"
THROTTLE_USD: Final = 1.0
STEPS: Final[Mapping[Step, StepSpec]] = MappingProxyType(
    {
        "throttle": StepSpec(
            True, "key", 30, "The key may spend `throttle_usd` more, then it is refused; its own limit is set aside."
        ),
        "disable": StepSpec(True, "key", 30, "The key is refused until it is enabled again."),
        "revoke": StepSpec(False, "key", 30, "Deletes the key for good; its users need a new one."),
    }
)
_HASH: Final = re.compile(r"[0-9A-Za-z]{16,128}")
_CENT: Final = 0.01  # usage and limit are sums of floats: closer than this they are the same
_Usd = Annotated[float, Field(allow_inf_nan=False)]


class _Key(BaseModel, strict=True):
    """What OpenRouter shows of a key, as far as it matters here."""

    hash: str
    disabled: bool
    limit: _Usd | None
    limit_remaining: _Usd | None
    limit_reset: str | None
    include_byok_in_limit: bool = False
    usage: _Usd
    byok_usage: _Usd = 0.0
    last_used_at: str | None = None

    def spent_usd(self) -> float:
        """What counts against a limit that is never reset."""
        return self.usage + (self.byok_usage if self.include_byok_in_limit else 0.0)


def steps_of(ref: str) -> Mapping[Step, StepSpec]:
    """The steps for one key; nothing for what is not a key's hash."""
    return STEPS if _HASH.fullmatch(ref) else {}


def from_config(name: str, config: ProviderConfig, secret: SecretStr, *, timeout_s: float) -> OpenRouterProvider:
    """The provider of `providers.<name>` in `keyfuse.yaml`."""
    return OpenRouterProvider(
        name, secret, base_url=config.base_url, timeout_s=timeout_s, throttle_usd=config.throttle_usd
    )


class OpenRouterProvider:
    """The keys API.

    Args:
        name: As events call the provider.
        secret: A management key (once called provisioning key).
        base_url: Other address than OpenRouter's own.
        timeout_s: For one call.
        throttle_usd: What a throttled key may still spend.
    """

    def __init__(
        self, name: str, secret: SecretStr, *, base_url: str = "", timeout_s: float = 10,
        throttle_usd: float = THROTTLE_USD,
    ) -> None:  # fmt: skip
        self.name = name
        self.steps = STEPS
        self._throttle_usd = throttle_usd
        self._api = JsonApi(base_url or BASE_URL, secret, timeout_s=timeout_s, headers={})

    def steps_of(self, ref: str) -> Mapping[Step, StepSpec]:
        return steps_of(ref)

    async def snapshot(self, ref: str) -> dict[str, str]:
        key = await self._read(ref)
        return {
            "disabled": "yes" if key.disabled else "no",
            "limit_usd": "" if key.limit is None else repr(key.limit),
            "limit_reset": key.limit_reset or "",
        }

    async def apply(self, step: Step, ref: str) -> str:
        self._known(step)
        if step == "revoke":
            return await self._delete(ref)
        if step == "disable":
            return await self._patch(ref, {"disabled": True})
        key = await self._read(ref)
        if self._held(key):
            return f"already held: {_limit_words(key)}"  # writing again would give it what it spent since
        # Without a reset: a limit that starts afresh at midnight would let the key go on tomorrow.
        limit = round(key.spent_usd() + self._throttle_usd, 6)
        return await self._patch(ref, {"limit": limit, "limit_reset": None})

    async def in_effect(self, step: Step, ref: str, *, pre_state: Mapping[str, str] | None = None) -> Effect:
        self._known(step)
        try:
            key = await self._read(ref)
        except Refused as refused:
            if step == "revoke" and refused.reason is Reason.UNKNOWN_KEY:
                return Effect("yes", "the key is gone")
            raise
        if step == "throttle":
            return Effect("yes" if self._held(key) else "no", _limit_words(key))
        held = step == "disable" and key.disabled
        words = "the key is disabled" if key.disabled else "the key is enabled"
        used = f", last used {key.last_used_at[:20]}" if key.last_used_at else ""  # a hint where nobody has its secret
        return Effect("yes" if held else "no", words + used)

    async def probe(self, step: Step, ref: str) -> Effect | None:
        return None

    async def undo(self, step: Step, ref: str, pre_state: Mapping[str, str]) -> str:
        self._known(step)
        if step == "revoke":
            raise Refused(Reason.FINAL, f"undo revoke of {ref}: a deleted key cannot come back; create a new one")
        if step == "disable":
            if pre_state.get("disabled") == "yes":
                return "left disabled, as it was before"
            return await self._patch(ref, {"disabled": False})
        limit, reset = pre_state.get("limit_usd", ""), pre_state.get("limit_reset", "")
        return await self._patch(ref, {"limit": float(limit) if limit else None, "limit_reset": reset or None})

    async def close(self) -> None:
        await self._api.close()

    def _held(self, key: _Key) -> bool:
        left = key.limit_remaining
        return key.limit_reset is None and left is not None and left <= self._throttle_usd + _CENT

    async def _read(self, ref: str) -> _Key:
        doing = f"read {ref}"
        answer = await self._api.call("GET", _path(ref), doing)
        try:
            key = _Key.model_validate(answer.get("data"))
        except ValidationError:
            key = None  # its words would repeat what was answered
        if key is None or key.hash != ref:
            raise Retryable(Reason.NONSENSE, f"{doing}: the answer is not this key with its limit and usage")
        return key

    async def _patch(self, ref: str, body: dict[str, Any]) -> str:
        words = ", ".join(f"{name} {value}" for name, value in body.items())
        await self._api.call("PATCH", _path(ref), f"set {ref} to {words}", body=body)
        return f"set to {words}"

    async def _delete(self, ref: str) -> str:
        doing = f"delete {ref}"
        try:
            answer = await self._api.call("DELETE", _path(ref), doing)
        except Refused as refused:
            if refused.reason is Reason.UNKNOWN_KEY:
                return "already gone: the provider does not know this key"
            raise
        if answer.get("deleted") is not True:
            raise Retryable(Reason.NONSENSE, f"{doing}: the answer does not say that the key was deleted")
        return "deleted"

    def _known(self, step: Step) -> None:
        if step not in self.steps:
            raise Refused(Reason.NOT_SUPPORTED, f"{self.name} cannot {step} a key; it can {', '.join(self.steps)}")


def _limit_words(key: _Key) -> str:
    if key.limit is None:
        return "no limit is set"
    left = "an unknown rest" if key.limit_remaining is None else f"${key.limit_remaining:,.2f}"
    return f"{left} left of a limit of ${key.limit:,.2f}" + (f", anew {key.limit_reset}" if key.limit_reset else "")


def _path(ref: str) -> str:
    if not _HASH.fullmatch(ref):
        raise Refused(Reason.BAD_REF, "provider_ref must be the key's hash for OpenRouter, never its value")
    return f"/keys/{ref}"
