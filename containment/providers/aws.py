"""AWS: a key can be made inactive (and active again) or deleted; a role or user can be kept out of Bedrock.

`provider_ref` says which of four things it is, and so which steps there are:

- `iam/USER/AKIA...`: an IAM access key.
- `bedrock/USER/ACCA...`: a long-term Bedrock API key, which IAM calls a service-specific credential.
- `role/ROLE` and `user/USER`: who made a short-term key. Such a key has no id and cannot be cut by itself; an inline
  policy denies Bedrock to whoever runs as that role or user.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from pydantic import SecretStr

from containment.providers.base import Effect, StepSpec
from containment.providers.errors import ProviderError, Reason, Refused
from schemas.records import Step

if TYPE_CHECKING:
    from containment.providers.aws_iam import Iam

POLICY: Final = "keyfuse-deny"
DENY: Final[dict[str, Any]] = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Sid": "KeyfuseDeny",
            "Effect": "Deny",
            # Bedrock has a second front door with actions of its own: a key denied at one is served at the other.
            "Action": ["bedrock:CallWithBearerToken", "bedrock:Invoke*", "bedrock-mantle:*"],
            "Resource": "*",
        }
    ],
}
STEPS: Final[Mapping[Step, StepSpec]] = MappingProxyType(
    {
        "block": StepSpec(
            True, "project", 4, "Everything that runs as this role or user is kept out of Bedrock, not one key alone."
        ),
        "disable": StepSpec(
            True, "key", 4, "The key is refused until it is made active again; sessions opened with it before live on."
        ),
        "revoke": StepSpec(
            False, "key", 4, "Deletes the key for good; its users need a new one. Sessions opened with it live on."
        ),
    }
)
_FOR_KEYS: Final[frozenset[Step]] = frozenset({"disable", "revoke"})
_FOR_OWNERS: Final[frozenset[Step]] = frozenset({"block"})
_NAME: Final = r"[\w+=,.@-]{1,64}"
_REF: Final = re.compile(
    rf"(?:iam/{_NAME}/AKIA|bedrock/{_NAME}/ACCA)[A-Z0-9]{{12,124}}|(?:role|user)/{_NAME}", re.ASCII
)
_OFF: Final = frozenset({"Inactive", "Expired"})
_PHANTOM: Final = "BedrockAPIKey-"  # how the console names the user that it makes for a Bedrock key


class _Key(NamedTuple):
    kind: Literal["iam", "bedrock"]
    user: str
    key: str


class _Owner(NamedTuple):
    kind: Literal["role", "user"]
    name: str


def steps_of(ref: str) -> Mapping[Step, StepSpec]:
    """The steps for one key; nothing for a reference that is not one of AWS."""
    if not _REF.fullmatch(ref):
        return {}
    mine = _FOR_KEYS if isinstance(_parse(ref), _Key) else _FOR_OWNERS
    return {step: spec for step, spec in STEPS.items() if step in mine}


def shares_with(ref: str, other_ref: str, step: Step) -> bool:
    """Whether the step on one stops the other as well: a block of a user stops all of the user's keys.

    >>> [shares_with("user/shop", other, "block") for other in ("iam/shop/AKIA1", "bedrock/ops/ACCA1")]
    [True, False]
    """
    kind, _, name = ref.partition("/")
    owned = step in _FOR_OWNERS and kind == "user" and other_ref.split("/")[:2] in (["iam", name], ["bedrock", name])
    return ref == other_ref or owned


class AwsProvider:
    """IAM's view of keys, and of who made them.

    Args:
        name: As events call the provider.
        secret: `ACCESS_KEY_ID:SECRET`, or empty for the machine's own role.
        base_url: Other address than AWS's own.
        timeout_s: For one call.

    Raises:
        ValueError: the secret has another form, or boto3 is not installed.
    """

    def __init__(self, name: str, secret: SecretStr, *, base_url: str = "", timeout_s: float = 10) -> None:
        try:
            from containment.providers.aws_iam import Iam  # noqa: PLC0415 - the steps are asked where boto3 is not
        except ImportError as exc:
            raise ValueError("the AWS client is not installed: pip install keyfuse[aws]") from exc
        self.name = name
        self.steps = STEPS
        self._iam: Iam = Iam(secret, base_url=base_url, timeout_s=timeout_s)

    def steps_of(self, ref: str) -> Mapping[Step, StepSpec]:
        return steps_of(ref)

    async def snapshot(self, ref: str) -> dict[str, str]:
        at = _parse(ref)
        if isinstance(at, _Key):
            return {"status": await self._status(at), "also": await self._also(at.user, at.key)}
        policy = {"policy": await self._iam.policy(at.kind, at.name, POLICY)}
        return policy if at.kind == "role" else {**policy, "also": await self._also(at.name, "")}

    async def apply(self, step: Step, ref: str) -> str:
        at = self._can(step, ref)
        if isinstance(at, _Owner):
            await self._iam.put_policy(at.kind, at.name, POLICY, json.dumps(DENY))
            return f"put the policy {POLICY}"
        if step == "revoke":
            return await self._delete(at)
        now = await self._status(at)
        return f"already {now.lower()}" if now in _OFF else await self._set(at, "Inactive")

    async def in_effect(self, step: Step, ref: str, *, pre_state: Mapping[str, str] | None = None) -> Effect:
        at = self._can(step, ref)
        if isinstance(at, _Owner):
            policy = await self._iam.policy(at.kind, at.name, POLICY)
            if not policy:
                return Effect("no", f"there is no policy {POLICY}")
            ours = json.loads(policy) == DENY
            return Effect(
                "yes" if ours else "no", f"the policy {POLICY} {'is there' if ours else 'says another thing'}"
            )
        status = await self._status(at, missing="deleted" if step == "revoke" else "")
        held = status == "deleted" or (step == "disable" and status in _OFF)
        return Effect("yes" if held else "no", f"the key is {status.lower()}")

    async def probe(self, step: Step, ref: str) -> Effect | None:
        return None

    async def undo(self, step: Step, ref: str, pre_state: Mapping[str, str]) -> str:
        at = self._can(step, ref)
        if isinstance(at, _Owner):
            return await self._put_back(at, pre_state.get("policy", ""))
        if step == "revoke":
            raise Refused(Reason.FINAL, f"undo revoke of {ref}: a deleted key cannot come back; create a new one")
        now, before = await self._status(at), pre_state.get("status", "Active")
        if now == before:
            return f"already {now.lower()}"
        if before not in {"Active", "Inactive"} or now == "Expired":
            raise Refused(Reason.FINAL, f"undo {step} of {ref}: the key has expired and cannot be put back")
        return await self._set(at, "Active" if before == "Active" else "Inactive")

    async def close(self) -> None:
        await self._iam.close()

    def _can(self, step: Step, ref: str) -> _Key | _Owner:
        if step not in self.steps:
            raise Refused(Reason.NOT_SUPPORTED, f"{self.name} cannot {step} a key; it can {', '.join(self.steps)}")
        at, can = _parse(ref), steps_of(ref)
        if step not in can:
            raise Refused(Reason.NOT_SUPPORTED, f"{self.name} cannot {step} {ref}; it can {', '.join(can)} it")
        return at

    async def _status(self, at: _Key, *, missing: str = "") -> str:
        """Active, Inactive or Expired; `missing` where the key, or its user, is not there."""
        try:
            keys = await self._iam.keys(at.kind, at.user)
        except Refused as refused:
            if missing and refused.reason is Reason.UNKNOWN_KEY:
                return missing
            raise
        status = keys.get(at.key, missing)
        if not status:
            raise Refused(Reason.UNKNOWN_KEY, f"read {at.kind}/{at.user}/{at.key}: the user has no such key")
        return status

    async def _also(self, user: str, key: str) -> str:
        """What else this user could get in with: words for people, and no reason to hold up a cut."""
        try:
            keys = {**await self._iam.keys("iam", user), **await self._iam.keys("bedrock", user)}
        except ProviderError as error:
            return f"not known: {error}"
        others = ", ".join(f"{other} ({status.lower()})" for other, status in sorted(keys.items()) if other != key)
        left = "the console made this user for a Bedrock key and leaves it behind; " * user.startswith(_PHANTOM)
        return left + (f"the user also holds {others}" if others else "the user holds no other key")

    async def _set(self, at: _Key, status: Literal["Active", "Inactive"]) -> str:
        await self._iam.set_status(at.kind, at.user, at.key, status)
        return f"set {status.lower()}"

    async def _delete(self, at: _Key) -> str:
        try:
            await self._iam.delete(at.kind, at.user, at.key)
        except Refused as refused:
            if refused.reason is Reason.UNKNOWN_KEY:
                return "already gone: AWS does not know this key"
            raise
        return "deleted"

    async def _put_back(self, at: _Owner, before: str) -> str:
        now = await self._iam.policy(at.kind, at.name, POLICY)
        if now == before:
            return f"the policy {POLICY} is as it was before"
        if before:
            await self._iam.put_policy(at.kind, at.name, POLICY, before)
            return f"put back the policy {POLICY} that was there before"
        await self._iam.delete_policy(at.kind, at.name, POLICY)
        return f"took the policy {POLICY} away"


def _parse(ref: str) -> _Key | _Owner:
    if not _REF.fullmatch(ref):
        words = "provider_ref must be iam/USER/AKIA..., bedrock/USER/ACCA..., role/ROLE or user/USER for AWS"
        raise Refused(Reason.BAD_REF, f"{words}; look in keys.yaml")
    kind, owner, *key = ref.split("/")
    if kind in {"role", "user"}:
        return _Owner("role" if kind == "role" else "user", owner)
    return _Key("iam" if kind == "iam" else "bedrock", owner, key[0])
