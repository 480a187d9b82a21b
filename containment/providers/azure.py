"""Azure OpenAI: the keys of an account can be switched off (and on again) together, or one of the two made anew.

`provider_ref` is `SUBSCRIPTION/RESOURCE_GROUP/ACCOUNT/Key1` (or `Key2`), and better with 16 or more hex digits of the
key's SHA-256 behind it: `.../Key1#9f86d081884c7d65`. With them Keyfuse knows the leaked value itself; without, how
the key stood when the order began. Whoever uses a key shares it with others: see `shares_with`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, cast

from pydantic import SecretStr

from containment.providers.base import Effect, StepSpec
from containment.providers.errors import Reason, Refused
from schemas.config.wiring import ProviderConfig
from schemas.records import Step

if TYPE_CHECKING:
    from azure.core.credentials_async import AsyncTokenCredential

    from containment.providers.azure_arm import Accounts

Slot = Literal["Key1", "Key2"]
BASE_URL: Final = "https://management.azure.com"
STEPS: Final[Mapping[Step, StepSpec]] = MappingProxyType(
    {
        "block": StepSpec(
            True, "account", 60, "Both keys of the whole account are refused, for everybody; Entra ID callers go on."
        ),
        "revoke": StepSpec(
            False, "account", 10, "The key gets a new value: all who share it are refused until they have that."
        ),
    }
)
_ACCOUNT: Final = r"([0-9a-fA-F-]{36})/([\w.()-]{1,90})/([A-Za-z0-9][\w.-]{1,63})"
_REF: Final = re.compile(rf"{_ACCOUNT}/(Key1|Key2)(?:#([0-9a-f]{{16,64}}))?", re.ASCII)


_NOT_INSTALLED: Final = "the Azure client is not installed: pip install keyfuse[azure]"


class At(NamedTuple):
    """Where an account is."""

    subscription: str
    group: str
    account: str

    def words(self) -> str:
        return f"{self.group}/{self.account}"


class _Ref(NamedTuple):
    at: At
    slot: Slot
    fingerprint: str  # what the SHA-256 of the key to cut begins with; empty when not given


def shares_with(ref: str, other_ref: str, step: Step = "block") -> bool:
    """Whether `step` on one key stops the other as well: the account for a block, the same key of it for a revoke.

    >>> shop = "00000000-0000-0000-0000-000000000000/rg/shop"
    >>> [shares_with(f"{shop}/Key1", f"{shop}/Key2", step=step) for step in ("block", "revoke")]
    [True, False]
    """
    one, other = _REF.fullmatch(ref), _REF.fullmatch(other_ref)
    if one is None or other is None:
        return False
    told = 4 if step == "revoke" else 3
    return [part.lower() for part in one.groups()[:told]] == [part.lower() for part in other.groups()[:told]]


def steps_of(ref: str) -> Mapping[Step, StepSpec]:
    """The steps for one key; nothing for a reference that is not one of Azure."""
    return STEPS if _REF.fullmatch(ref) else {}


def from_config(name: str, config: ProviderConfig, secret: SecretStr, *, timeout_s: float) -> AzureProvider:
    """The provider of `providers.<name>` in `keyfuse.yaml`. Raises ValueError for a secret of another form."""
    try:
        from containment.providers.azure_identity import credential_from  # noqa: PLC0415 - as below
    except ImportError as exc:
        raise ValueError(_NOT_INSTALLED) from exc
    credential, hidden = credential_from(secret)
    return AzureProvider(name, hidden, credential=credential, base_url=config.base_url, timeout_s=timeout_s)


class AzureProvider:
    """Keys of Azure OpenAI (Cognitive Services, Foundry) accounts.

    Args:
        name: As events call the provider.
        secret: What must never be shown of the credential.
        credential: Gives tokens for Azure Resource Manager.
        base_url: Other address than that of Azure's public cloud.
        timeout_s: For one call.

    Raises:
        ValueError: Azure's client is not installed.
    """

    def __init__(
        self,
        name: str,
        secret: SecretStr,
        *,
        credential: AsyncTokenCredential,
        base_url: str = "",
        timeout_s: float = 10,
    ) -> None:
        try:
            from containment.providers.azure_arm import Accounts  # noqa: PLC0415 - steps are asked where the client is not
        except ImportError as exc:
            raise ValueError(_NOT_INSTALLED) from exc
        self.name = name
        self.steps = STEPS
        self._accounts: Accounts = Accounts(secret, credential, base_url=base_url or BASE_URL, timeout_s=timeout_s)
        self._first: dict[str, str] = {}  # ref -> what the SHA-256 of its key began with when it was first looked at

    def steps_of(self, ref: str) -> Mapping[Step, StepSpec]:
        return steps_of(ref)

    async def snapshot(self, ref: str) -> dict[str, str]:
        key = _parse(ref)
        access = await self._accounts.key_access(key.at)
        hashes = None if access.off else await self._hashes_if_allowed(key.at)
        if hashes:
            self._first[ref] = hashes[key.slot][:16]
        return {"key_access": "off" if access.off else "on", "key_sha256": hashes[key.slot][:16] if hashes else ""}

    async def apply(self, step: Step, ref: str) -> str:
        self._known(step)
        key = _parse(ref)
        if step == "block":
            await self._accounts.switch(key.at, off=True)
            return "key access to the account is being switched off"
        hashes = await self._accounts.hashes(key.at)
        if hashes is None:
            words = "key access to the account is switched off, so no key can be made anew; undo the block first"
            raise Refused(Reason.REJECTED, f"revoke {ref}: {words}")
        if self._replaced(ref, key, hashes):
            return "already made anew"
        if not hashes[key.slot].startswith(key.fingerprint):
            raise Refused(Reason.BAD_REF, f"revoke {ref}: the registered value is the account's other key")
        await self._accounts.regenerate(key.at, key.slot)
        return f"{key.slot} was made anew"

    async def in_effect(self, step: Step, ref: str, *, pre_state: Mapping[str, str] | None = None) -> Effect:
        self._known(step)
        key = _parse(ref)
        if step == "block":
            access = await self._accounts.key_access(key.at)
            if access.state != "Succeeded":
                return Effect("unknown", f"Azure is not done with the account ({access.state})")
            return Effect(
                "yes" if access.off else "no", f"key access to the account is {'off' if access.off else 'on'}"
            )
        hashes = await self._accounts.hashes(key.at)
        if hashes is None:
            return Effect("unknown", "key access to the account is switched off, so its keys are not listed")
        if pre_state and pre_state.get("key_sha256"):
            self._first[ref] = pre_state["key_sha256"]  # `apply` asks the same question
        gone = self._replaced(ref, key, hashes)
        return Effect("yes" if gone else "no", f"{key.slot} has {'another' if gone else 'still the same'} value")

    async def probe(self, step: Step, ref: str) -> Effect | None:
        return None

    async def undo(self, step: Step, ref: str, pre_state: Mapping[str, str]) -> str:
        self._known(step)
        key = _parse(ref)
        if step == "revoke":
            raise Refused(Reason.FINAL, f"undo revoke of {ref}: the old value cannot come back; hand out the new one")
        if pre_state.get("key_access") == "off":
            return "left switched off, as it was before"
        await self._accounts.switch(key.at, off=False)
        return "key access to the account is being switched on"

    async def close(self) -> None:
        await self._accounts.close()

    async def _hashes_if_allowed(self, at: At) -> dict[Slot, str] | None:
        """A role for block alone need not see keys; revoke finds out by itself that it may not."""
        try:
            return await self._accounts.hashes(at)
        except Refused as refused:
            if refused.reason is Reason.FORBIDDEN:
                return None
            raise

    def _replaced(self, ref: str, key: _Ref, hashes: Mapping[Slot, str]) -> bool:
        """Is the value that is to be cut gone? Without a fingerprint: gone since it was first looked at."""
        if key.fingerprint:
            return not any(found.startswith(key.fingerprint) for found in hashes.values())
        return not hashes[key.slot].startswith(self._first.setdefault(ref, hashes[key.slot]))

    def _known(self, step: Step) -> None:
        if step not in self.steps:
            raise Refused(Reason.NOT_SUPPORTED, f"{self.name} cannot {step} a key; it can {', '.join(self.steps)}")


def _parse(ref: str) -> _Ref:
    found = _REF.fullmatch(ref)
    if found is None:
        words = "provider_ref must be SUBSCRIPTION/RESOURCE_GROUP/ACCOUNT/Key1 (or Key2) for Azure; look in keys.yaml"
        raise Refused(Reason.BAD_REF, words)
    subscription, group, account, slot, fingerprint = found.groups()
    return _Ref(At(subscription, group, account), cast(Slot, slot), fingerprint or "")
