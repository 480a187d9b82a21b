"""Google: an API key is kept from the models, or deleted and had back; a service account's key is disabled or deleted.

`provider_ref` is the resource's own name, without its service:

- `projects/P/locations/global/keys/K`: an API key. Google has no "disabled" for these. Its restrictions can leave out
  the models' services, and a deleted one can be had back for thirty days.
- `projects/P/serviceAccounts/EMAIL/keys/ID`: a service account's key.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Final

from pydantic import SecretStr

from containment.providers.base import Effect, StepSpec
from containment.providers.errors import Reason, Refused
from containment.providers.google_keys import AccountKeys, ApiKeys, Keys
from schemas.records import Step

_API_KEY_STEPS: Final[Mapping[Step, StepSpec]] = MappingProxyType(
    {
        "block": StepSpec(
            True, "key", 300, "The key no longer reaches the models; one that was open to all services reaches none."
        ),
        "revoke": StepSpec(
            True,
            "key",
            960,
            "Deletes the key for all services; it can be had back for 30 days. Served for minutes yet.",
        ),
    }
)
_ACCOUNT_KEY_STEPS: Final[Mapping[Step, StepSpec]] = MappingProxyType(
    {
        "disable": StepSpec(
            True, "key", 5, "The key makes no new tokens until it is enabled; tokens already made live up to an hour."
        ),
        "revoke": StepSpec(
            False, "key", 5, "Deletes the key for good; tokens already made with it live up to an hour."
        ),
    }
)
STEPS: Final[Mapping[Step, StepSpec]] = MappingProxyType(
    # Of the two ways to revoke the final one stands here: who sees only the kind shall not take it for undoable.
    {"block": _API_KEY_STEPS["block"], **_ACCOUNT_KEY_STEPS}
)
_API_KEY: Final = re.compile(r"projects/[\w.:-]{1,100}/locations/global/keys/[\w-]{1,100}", re.ASCII)
_ACCOUNT_KEY: Final = re.compile(r"projects/[\w.:-]{1,100}/serviceAccounts/[\w.@+-]{1,200}/keys/[\w-]{1,100}", re.ASCII)


def steps_of(ref: str) -> Mapping[Step, StepSpec]:
    """The steps for one key; nothing for a reference that is not one of Google."""
    if _API_KEY.fullmatch(ref):
        return _API_KEY_STEPS
    return _ACCOUNT_KEY_STEPS if _ACCOUNT_KEY.fullmatch(ref) else {}


class GoogleProvider:
    """API Keys v2, and IAM v1 for the keys of service accounts.

    Args:
        name: As events call the provider.
        secret: A service account's key file (JSON), or empty for the machine's own identity.
        base_url: Other address than Google's own, for both services.
        timeout_s: For one call.
        sleep: Pause in seconds between looks at an operation.

    Raises:
        ValueError: the secret is something else, or google-auth is not installed.
    """

    def __init__(
        self,
        name: str,
        secret: SecretStr,
        *,
        base_url: str = "",
        timeout_s: float = 10,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        try:
            from containment.providers.google_rest import GoogleRest  # noqa: PLC0415 - the steps are asked without it
        except ImportError as exc:
            raise ValueError("the Google client is not installed: pip install keyfuse[google]") from exc
        self.name = name
        self.steps = STEPS
        self._rest = GoogleRest(secret, timeout_s=timeout_s)
        own = base_url.rstrip("/")
        self._api_keys = ApiKeys(self._rest.call, own or "https://apikeys.googleapis.com", sleep)
        self._account_keys = AccountKeys(self._rest.call, own or "https://iam.googleapis.com")

    def steps_of(self, ref: str) -> Mapping[Step, StepSpec]:
        return steps_of(ref)

    async def snapshot(self, ref: str) -> dict[str, str]:
        return await self._keys(ref).snapshot(ref)

    async def apply(self, step: Step, ref: str) -> str:
        return await self._able(step, ref).apply(step, ref)

    async def in_effect(self, step: Step, ref: str, *, pre_state: Mapping[str, str] | None = None) -> Effect:
        return await self._able(step, ref).in_effect(step, ref)

    async def probe(self, step: Step, ref: str) -> Effect | None:
        return None

    async def undo(self, step: Step, ref: str, pre_state: Mapping[str, str]) -> str:
        return await self._able(step, ref).undo(step, ref, pre_state)

    async def close(self) -> None:
        await self._rest.close()

    def _able(self, step: Step, ref: str) -> Keys:
        if step not in self.steps:
            raise Refused(Reason.NOT_SUPPORTED, f"{self.name} cannot {step} a key; it can {', '.join(self.steps)}")
        keys, can = self._keys(ref), steps_of(ref)
        if step not in can:
            raise Refused(Reason.NOT_SUPPORTED, f"{self.name} cannot {step} {ref}; it can {', '.join(can)} it")
        return keys

    def _keys(self, ref: str) -> Keys:
        if _API_KEY.fullmatch(ref):
            return self._api_keys
        if _ACCOUNT_KEY.fullmatch(ref):
            return self._account_keys
        forms = "projects/P/locations/global/keys/K or projects/P/serviceAccounts/EMAIL/keys/ID"
        raise Refused(Reason.BAD_REF, f"provider_ref must be {forms} for Google; look in keys.yaml")
