"""Anthropic: a key can be made inactive (and active again) or archived (final).

`provider_ref` is `apikey_...`. The Admin API never shows a key's value and cannot create keys.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal

import anthropic
from anthropic.types.organization import APIKey
from pydantic import SecretStr

from containment.providers.base import Effect, StepSpec
from containment.providers.errors import Reason, Refused, Retryable
from containment.providers.sdk_errors import SdkCalls
from schemas.records import Step

BASE_URL: Final = "https://api.anthropic.com"
STEPS: Final[Mapping[Step, StepSpec]] = MappingProxyType(
    {
        "disable": StepSpec(True, "key", 5, "The key is refused until it is made active again."),
        "revoke": StepSpec(False, "key", 5, "Archives the key for good; a new one must be made in the console."),
    }
)
_TARGET: Final[Mapping[Step, Literal["inactive", "archived"]]] = {"disable": "inactive", "revoke": "archived"}
_HOLDS: Final[Mapping[Step, frozenset[str]]] = {
    "disable": frozenset({"inactive", "archived", "expired"}),
    "revoke": frozenset({"archived"}),
}
_REF: Final = re.compile(r"apikey_[\w-]+")
_STATUSES: Final = frozenset({"active", "inactive", "archived", "expired"})


def steps_of(ref: str) -> Mapping[Step, StepSpec]:
    """The steps for one key; nothing for a reference that is not one of Anthropic."""
    return STEPS if _is_ref(ref) else {}


class AnthropicProvider:
    """The official client's organization resources.

    Args:
        name: As events call the provider.
        secret: An admin key (`sk-ant-admin...`).
        base_url: Other address than Anthropic's own.
        timeout_s: For one call.
    """

    def __init__(self, name: str, secret: SecretStr, *, base_url: str = "", timeout_s: float = 10) -> None:
        self.name = name
        self.steps = STEPS
        self._calls = SdkCalls(anthropic, anthropic.AnthropicError, secret)
        self._client = anthropic.AsyncAnthropic(
            api_key=secret.get_secret_value(),
            base_url=base_url or BASE_URL,
            timeout=timeout_s,
            max_retries=0,  # the executor counts the tries and keeps the audit
        )

    def steps_of(self, ref: str) -> Mapping[Step, StepSpec]:
        return steps_of(ref)

    async def snapshot(self, ref: str) -> dict[str, str]:
        return {"status": await self._status(ref)}

    async def apply(self, step: Step, ref: str) -> str:
        self._known(step)
        now = await self._status(ref)
        if now in _HOLDS[step]:
            return f"already {now}"  # writing "inactive" over "archived" would ask for a way back that does not exist
        return await self._write(ref, _TARGET[step])

    async def in_effect(self, step: Step, ref: str, *, pre_state: Mapping[str, str] | None = None) -> Effect:
        self._known(step)
        status = await self._status(ref)
        return Effect("yes" if status in _HOLDS[step] else "no", f"the key is {status}")

    async def probe(self, step: Step, ref: str) -> Effect | None:
        return None

    async def undo(self, step: Step, ref: str, pre_state: Mapping[str, str]) -> str:
        self._known(step)
        now, before = await self._status(ref), pre_state.get("status", "active")
        if now == "archived":
            raise Refused(Reason.FINAL, f"undo {step} of {ref}: an archived key cannot come back; make a new one")
        if now == before:
            return f"already {now}"
        if before not in {"active", "inactive"}:
            raise Refused(Reason.FINAL, f"undo {step} of {ref}: the key was {before} before and cannot be put back")
        return await self._write(ref, "active" if before == "active" else "inactive")

    async def close(self) -> None:
        await self._client.close()

    async def _status(self, ref: str) -> str:
        doing = f"read {_checked(ref)}"
        return _status_in(await self._calls.make(doing, self._client.organization.api_keys.retrieve(ref)), ref, doing)

    async def _write(self, ref: str, status: Literal["active", "inactive", "archived"]) -> str:
        doing = f"set {ref} {status}"
        answer = await self._calls.make(doing, self._client.organization.api_keys.update(ref, status=status))
        return f"the key is {_status_in(answer, ref, doing)}"

    def _known(self, step: Step) -> None:
        if step not in self.steps:
            raise Refused(Reason.NOT_SUPPORTED, f"{self.name} cannot {step} a key; it can disable and revoke")


def _status_in(key: object, ref: str, doing: str) -> str:
    status = getattr(key, "status", None)
    if not isinstance(key, APIKey) or getattr(key, "id", None) != ref or status not in _STATUSES:
        raise Retryable(Reason.NONSENSE, f"{doing}: the answer is not this key with a status we know")
    return str(status)


def _is_ref(ref: str) -> bool:
    return _REF.fullmatch(ref) is not None


def _checked(ref: str) -> str:
    if not _is_ref(ref):
        raise Refused(Reason.BAD_REF, "provider_ref must be apikey_... for Anthropic; look in keys.yaml")
    return ref
