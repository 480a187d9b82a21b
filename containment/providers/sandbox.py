"""The sandbox that ships with Keyfuse (`containment.sandbox_server`): a provider to practise on, with a real probe."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import quote

from pydantic import SecretStr

from containment.providers.base import Effect, StepSpec
from containment.providers.errors import Reason, Refused, Retryable
from containment.providers.http import JsonApi
from schemas.records import Step

THROTTLE_PER_MIN: Final = 1
STEPS: Final[Mapping[Step, StepSpec]] = MappingProxyType(
    {
        "throttle": StepSpec(True, "key", 1, f"The key may make {THROTTLE_PER_MIN} request a minute."),
        "disable": StepSpec(True, "key", 1, "The key is refused until it is enabled again."),
        "revoke": StepSpec(False, "key", 1, "The key is refused for good."),
    }
)
_STATUSES: Final = frozenset({"active", "disabled", "revoked"})


def steps_of(ref: str) -> Mapping[Step, StepSpec]:
    """The steps for one key, which goes by its key_id."""
    return STEPS if ref.strip() else {}


class SandboxProvider:
    """The sandbox's admin API. `provider_ref` is the key_id it was registered with."""

    def __init__(self, name: str, secret: SecretStr, *, base_url: str, timeout_s: float = 10) -> None:
        self.name = name
        self.steps = STEPS
        self._api = JsonApi(base_url, secret, timeout_s=timeout_s, headers={})

    def steps_of(self, ref: str) -> Mapping[Step, StepSpec]:
        return steps_of(ref)

    async def snapshot(self, ref: str) -> dict[str, str]:
        key = await self._read(ref)
        return {"status": key["status"], "limit_per_min": "" if key["limit"] is None else str(key["limit"])}

    async def apply(self, step: Step, ref: str) -> str:
        self._known(step)
        return await self._post(ref, step, {"limit_per_min": THROTTLE_PER_MIN} if step == "throttle" else None)

    async def in_effect(self, step: Step, ref: str, *, pre_state: Mapping[str, str] | None = None) -> Effect:
        self._known(step)
        key = await self._read(ref)
        status, limit = key["status"], key["limit"]
        if step == "throttle":
            held = limit is not None and limit <= THROTTLE_PER_MIN
            return Effect("yes" if held else "no", "no limit is set" if limit is None else f"limit {limit}/min")
        held = status == "revoked" or (step == "disable" and status == "disabled")
        return Effect("yes" if held else "no", f"the key is {status}")

    async def probe(self, step: Step, ref: str) -> Effect | None:
        doing = f"probe {ref}"
        status = (await self._api.call("POST", f"{_path(ref)}/probe", doing)).get("status_code")
        if not isinstance(status, int):
            raise Retryable(Reason.NONSENSE, f"{doing}: the answer has no status_code")
        refused = status in {401, 403}
        return Effect("yes" if refused else "no", f"a call with the key was answered {status}")

    async def undo(self, step: Step, ref: str, pre_state: Mapping[str, str]) -> str:
        self._known(step)
        if step == "revoke":
            raise Refused(Reason.FINAL, f"undo revoke of {ref}: a revoked key cannot come back; register a new one")
        if step == "throttle":
            before = pre_state.get("limit_per_min", "")
            return await self._post(ref, "throttle", {"limit_per_min": int(before) if before.isdecimal() else None})
        if pre_state.get("status", "active") != "active":
            return f"left {pre_state['status']}, as it was before"
        return await self._post(ref, "enable", None)

    async def close(self) -> None:
        await self._api.close()

    async def _post(self, ref: str, verb: str, body: object) -> str:
        await self._api.call("POST", f"{_path(ref)}/{verb}", f"{verb} {ref}", body=body)
        return f"{verb}: done"

    async def _read(self, ref: str) -> dict[str, Any]:
        doing = f"read {ref}"
        answer = await self._api.call("GET", _path(ref), doing)
        status, limit = answer.get("status"), answer.get("limit_per_min", ...)
        if answer.get("key_id") != ref or status not in _STATUSES or not isinstance(limit, int | None):
            raise Retryable(Reason.NONSENSE, f"{doing}: the answer is not this key with a status we know")
        return {"status": status, "limit": limit}

    def _known(self, step: Step) -> None:
        if step not in self.steps:
            raise Refused(Reason.NOT_SUPPORTED, f"{self.name} cannot {step} a key; it can {', '.join(self.steps)}")


def _path(ref: str) -> str:
    if not ref.strip():
        raise Refused(Reason.BAD_REF, "the sandbox needs the key_id as provider_ref")
    return f"/admin/keys/{quote(ref, safe='')}"
