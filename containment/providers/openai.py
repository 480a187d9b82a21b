"""OpenAI: a key can be deleted, for good. What can be undone acts on the key's whole project.

`provider_ref` is `proj_.../key_...`, or `proj_.../sa/SERVICE_ACCOUNT_ID` for all keys of a service account.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

import openai
from openai.types.admin.organization.projects import ProjectAPIKey, ProjectServiceAccount
from pydantic import SecretStr

from containment.providers.base import Effect, StepSpec
from containment.providers.errors import Reason, Refused, Retryable
from containment.providers.openai_limits import SLOWED, RateLimits
from containment.providers.openai_project import NO_SENSE, Admin, ModelPermissions, Setting, SpendLimit
from containment.providers.sdk_errors import SdkCalls
from schemas.config.wiring import ProviderConfig
from schemas.records import Step

BASE_URL: Final = "https://api.openai.com/v1"
_WHOLE: Final = "Every key of the project, healthy ones too,"
STEPS: Final[Mapping[Step, StepSpec]] = MappingProxyType(
    {
        "throttle": StepSpec(
            True, "project", 60,
            f"{_WHOLE} may make {SLOWED['max_requests_per_1_minute']} request and use "
            f"{SLOWED['max_tokens_per_1_minute']:,} tokens a minute with each model.",
        ),
        "degrade": StepSpec(True, "project", 60, f"{_WHOLE} may use only the models of degrade_to."),
        "block": StepSpec(
            True, "project", 300,
            f"{_WHOLE} is refused (429) once OpenAI enforces a spend limit of one cent; not at once, and from the "
            "first of the next month only after the first cent.",
        ),
        "revoke": StepSpec(
            False, "key", 10, "Deletes the key for good; its users need a new key before they work again."
        ),
    }
)  # fmt: skip
_ACCOUNT: Final = StepSpec(
    False, "key", 10, "Deletes the service account with all its keys for good; its users need new ones."
)
_REF: Final = re.compile(r"(?P<project>proj_[\w-]+)/(?:(?P<key>key_[\w-]+)|sa/(?P<account>[\w-]+))")


class _Ref(NamedTuple):
    project: str
    key: str  # empty: `account` is meant
    account: str


def steps_for(config: ProviderConfig) -> Mapping[Step, StepSpec]:
    """Degrading needs models to fall back to."""
    return _with(config.degrade_to)


def steps_of(ref: str, steps: Mapping[Step, StepSpec] = STEPS) -> Mapping[Step, StepSpec]:
    """Which of `steps` there are for one key; nothing for a reference that is not one of OpenAI."""
    found = _REF.fullmatch(ref)
    if found is None:
        return {}
    return {**steps, "revoke": _ACCOUNT} if found["account"] else steps


def from_config(name: str, config: ProviderConfig, secret: SecretStr, *, timeout_s: float) -> OpenAIProvider:
    """The provider of `providers.<name>`."""
    return OpenAIProvider(
        name, secret, base_url=config.base_url, timeout_s=timeout_s, degrade_to=config.degrade_to
    )  # fmt: skip


class OpenAIProvider:
    """The official client's admin resources.

    Args:
        name: As events call the provider.
        secret: An admin key (`sk-admin-...`).
        base_url: Other address than OpenAI's own.
        timeout_s: For one call.
        degrade_to: Models that stay allowed in a degraded project; without any there is no such step.
    """

    def __init__(
        self,
        name: str,
        secret: SecretStr,
        *,
        base_url: str = "",
        timeout_s: float = 10,
        degrade_to: tuple[str, ...] = (),
    ) -> None:
        self.name = name
        self.steps = _with(degrade_to)
        self._calls = SdkCalls(openai, openai.OpenAIError, secret)
        self._client = openai.AsyncOpenAI(
            admin_api_key=secret.get_secret_value(),
            base_url=base_url or BASE_URL,
            timeout=timeout_s,
            max_retries=0,  # the executor counts the tries and keeps the audit
        )
        admin = Admin(self._client, self._calls)
        settings: dict[Step, Setting] = {
            "throttle": RateLimits(admin), "degrade": ModelPermissions(admin, degrade_to), "block": SpendLimit(admin)
        }  # fmt: skip
        self._settings = {step: setting for step, setting in settings.items() if step in self.steps}

    def steps_of(self, ref: str) -> Mapping[Step, StepSpec]:
        return steps_of(ref, self.steps)

    async def snapshot(self, ref: str) -> dict[str, str]:
        """With the project's settings, but for those that our admin key may not read: it cannot change them either."""
        at, state = _parse(ref), await self._read(ref)
        for step, setting in self._settings.items():
            try:
                state[step] = await setting.saved(at.project)
            except Refused as refused:
                if refused.reason is not Reason.FORBIDDEN:
                    raise
        return state

    async def apply(self, step: Step, ref: str) -> str:
        self._known(step)
        at = _parse(ref)
        if step in self._settings:
            return await self._settings[step].apply(at.project)
        try:
            return await self._delete(at, f"delete {ref}")
        except Refused as refused:
            if refused.reason is Reason.UNKNOWN_KEY:
                return "already gone: the provider does not know this key"
            if at.key and "service account" in str(refused).lower():
                words = f"the key belongs to a service account; with {at.project}/sa/ID as its provider_ref, revoke"
                raise Refused(Reason.SERVICE_ACCOUNT, f"{refused}: {words} deletes that account") from None
            raise

    async def in_effect(self, step: Step, ref: str, *, pre_state: Mapping[str, str] | None = None) -> Effect:
        self._known(step)
        at = _parse(ref)
        if step in self._settings:
            return await self._settings[step].in_effect(at.project)
        try:
            await self._read(ref)
        except Refused as refused:
            if refused.reason is Reason.UNKNOWN_KEY:
                return Effect("yes", f"the {_noun(at)} is gone from its project")
            raise
        return Effect("no", f"the {_noun(at)} still exists")

    async def probe(self, step: Step, ref: str) -> Effect | None:
        return None

    async def undo(self, step: Step, ref: str, pre_state: Mapping[str, str]) -> str:
        self._known(step)
        at = _parse(ref)
        if step not in self._settings:
            raise Refused(
                Reason.FINAL, f"undo {step} of {ref}: a deleted {_noun(at)} cannot come back; create a new one"
            )
        setting, before = self._settings[step], pre_state.get(step)
        if await setting.saved(at.project) == before:
            return "left as it is: it was so before"
        if before is None:
            raise Refused(Reason.FINAL, f"undo {step} of {ref}: nobody saved how the project stood; set it by hand")
        return await setting.put_back(at.project, before)

    async def close(self) -> None:
        await self._client.close()

    async def _read(self, ref: str) -> dict[str, str]:
        at, doing, projects = _parse(ref), f"read {ref}", self._client.admin.organization.projects
        found: ProjectAPIKey | ProjectServiceAccount
        if at.key:
            found = await self._calls.make(doing, projects.api_keys.retrieve(at.key, project_id=at.project))
        else:
            found = await self._calls.make(doing, projects.service_accounts.retrieve(at.account, project_id=at.project))
        kind = ProjectAPIKey if at.key else ProjectServiceAccount
        if not isinstance(found, kind) or getattr(found, "id", None) != (at.key or at.account):
            raise Retryable(Reason.NONSENSE, f"{doing}: {NO_SENSE}")
        owner = getattr(getattr(found, "owner", None), "type", None) if at.key else "service_account"
        return {"status": "active", "name": str(found.name), "owner": owner or "unknown"}

    async def _delete(self, at: _Ref, doing: str) -> str:
        projects = self._client.admin.organization.projects
        gone: object
        if at.key:
            gone = await self._calls.make(doing, projects.api_keys.delete(at.key, project_id=at.project))
        else:
            gone = await self._calls.make(doing, projects.service_accounts.delete(at.account, project_id=at.project))
        if getattr(gone, "deleted", None) is not True:
            raise Retryable(Reason.NONSENSE, f"{doing}: the answer does not say that the {_noun(at)} was deleted")
        return "deleted"

    def _known(self, step: Step) -> None:
        if step not in self.steps:
            raise Refused(Reason.NOT_SUPPORTED, f"{self.name} cannot {step} a key; it can {', '.join(self.steps)}")


def _with(degrade_to: tuple[str, ...]) -> Mapping[Step, StepSpec]:
    return {step: spec for step, spec in STEPS.items() if step != "degrade" or degrade_to}


def _noun(at: _Ref) -> str:
    return "key" if at.key else "service account"


def _parse(ref: str) -> _Ref:
    found = _REF.fullmatch(ref)
    if found is None:
        words = "provider_ref must be proj_.../key_... or proj_.../sa/ID for OpenAI; look in keys.yaml"
        raise Refused(Reason.BAD_REF, words)
    return _Ref(found["project"], found["key"] or "", found["account"] or "")
