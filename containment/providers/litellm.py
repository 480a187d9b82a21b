"""LiteLLM: blocks a virtual key at the gateway. The provider's real key behind it keeps working for the others.

`provider_ref` is the key's hash as LiteLLM shows it, never the `sk-` value.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from pydantic import SecretStr

from containment.providers.base import Effect, StepSpec
from containment.providers.errors import Reason, Refused, Retryable
from containment.providers.http import JsonApi
from schemas.records import Step

STEPS: Final[Mapping[Step, StepSpec]] = MappingProxyType(
    {
        "block": StepSpec(
            True, "gateway", 60, "The gateway refuses the key; its other workers may still serve it from their cache."
        )
    }
)


class LiteLLMProvider:
    """The proxy's key management API.

    Args:
        name: As events call the provider.
        secret: The master key or an admin's key.
        base_url: Where the proxy is.
        timeout_s: For one call.
    """

    def __init__(self, name: str, secret: SecretStr, *, base_url: str, timeout_s: float = 10) -> None:
        self.name = name
        self.steps = STEPS
        self._api = JsonApi(base_url, secret, timeout_s=timeout_s, headers={"litellm-changed-by": "keyfuse"})

    async def snapshot(self, ref: str) -> dict[str, str]:
        return {"blocked": "yes" if await self._blocked(ref) else "no"}

    async def apply(self, step: Step, ref: str) -> str:
        self._known(step)
        return await self._set(ref, "block")

    async def in_effect(self, step: Step, ref: str) -> Effect:
        self._known(step)
        blocked = await self._blocked(ref)
        return Effect("yes", "the gateway lists the key as blocked") if blocked else Effect("no", "it is not blocked")

    async def probe(self, ref: str) -> Effect | None:
        return None

    async def undo(self, step: Step, ref: str, pre_state: Mapping[str, str]) -> str:
        self._known(step)
        if pre_state.get("blocked") == "yes":
            return "left blocked, as it was before"
        return await self._set(ref, "unblock")

    async def close(self) -> None:
        await self._api.close()

    async def _set(self, ref: str, verb: str) -> str:
        try:
            await self._api.call("POST", f"/key/{verb}", f"{verb} {_checked(ref)}", body={"key": ref})
        except Refused as refused:
            # Versions before March 2026 answer 401 for a key they do not know, with perfectly good credentials.
            # Reading the key tells which it was: it raises "unknown key" if that is the cause.
            if refused.reason is Reason.BAD_CREDENTIALS:
                await self._blocked(ref)
            raise
        return f"{verb}ed"

    async def _blocked(self, ref: str) -> bool:
        doing = f"read {_checked(ref)}"
        answer = await self._api.call("GET", "/key/info", doing, query={"key": ref})
        info = answer.get("info")
        if not isinstance(info, dict) or not isinstance(info.get("blocked", ...), bool | None):
            raise Retryable(Reason.NONSENSE, f"{doing}: the answer does not say whether the key is blocked")
        return info["blocked"] is True  # null: never blocked

    def _known(self, step: Step) -> None:
        if step not in self.steps:
            raise Refused(Reason.NOT_SUPPORTED, f"{self.name} cannot {step} a key; it can block it at the gateway")


def _checked(ref: str) -> str:
    if not ref.strip() or ref.startswith("sk-"):
        raise Refused(Reason.BAD_REF, "provider_ref must be the key's hash for LiteLLM, never its value")
    return ref
