"""OpenAI: the Admin API knows one verb for a single project key, delete, and it is final.

`provider_ref` is `proj_.../key_...`. Rate limits, model permissions and spend limits act on whole projects and are
left alone: they would break healthy keys.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple, TypeVar

import openai
from openai.types.admin.organization.projects import ProjectAPIKey
from pydantic import SecretStr

from containment.providers.base import Effect, StepSpec
from containment.providers.errors import ProviderError, Reason, Refused, Retryable, by_status
from containment.providers.redact import redact
from schemas.records import Step

BASE_URL: Final = "https://api.openai.com/v1"
STEPS: Final[Mapping[Step, StepSpec]] = MappingProxyType(
    {"revoke": StepSpec(False, "key", 10, "Deletes the key for good; its users need a new key before they work again.")}
)
T = TypeVar("T")


class _Ref(NamedTuple):
    project: str
    key: str


class OpenAIProvider:
    """The official client's admin resources.

    Args:
        name: As events call the provider.
        secret: An admin key (`sk-admin-...`) that may read and write project keys.
        base_url: Other address than OpenAI's own.
        timeout_s: For one call.
    """

    def __init__(self, name: str, secret: SecretStr, *, base_url: str = "", timeout_s: float = 10) -> None:
        self.name = name
        self.steps = STEPS
        self._secret = secret
        self._client = openai.AsyncOpenAI(
            admin_api_key=secret.get_secret_value(),
            base_url=base_url or BASE_URL,
            timeout=timeout_s,
            max_retries=0,  # the executor counts the tries and keeps the audit
        )

    async def snapshot(self, ref: str) -> dict[str, str]:
        key = await self._read(ref)
        owner = getattr(key.owner, "type", None) or "unknown"
        return {"status": "active", "name": str(key.name), "owner": owner}

    async def apply(self, step: Step, ref: str) -> str:
        self._known(step)
        at, doing = _parse(ref), f"delete {ref}"
        keys = self._client.admin.organization.projects.api_keys
        try:
            answer = await self._call(doing, keys.delete(at.key, project_id=at.project))
        except Refused as refused:
            if refused.reason is Reason.UNKNOWN_KEY:
                return "already gone: the provider does not know this key"
            raise
        if getattr(answer, "deleted", None) is not True:
            raise Retryable(Reason.NONSENSE, f"{doing}: the answer does not say that the key was deleted")
        return "deleted"

    async def in_effect(self, step: Step, ref: str) -> Effect:
        self._known(step)
        try:
            await self._read(ref)
        except Refused as refused:
            if refused.reason is Reason.UNKNOWN_KEY:
                return Effect("yes", "the key is gone from its project")
            raise
        return Effect("no", "the key still exists")

    async def probe(self, ref: str) -> Effect | None:
        return None

    async def undo(self, step: Step, ref: str, pre_state: Mapping[str, str]) -> str:
        self._known(step)
        raise Refused(Reason.FINAL, f"undo {step} of {ref}: a deleted key cannot come back; create a new one")

    async def close(self) -> None:
        await self._client.close()

    async def _read(self, ref: str) -> ProjectAPIKey:
        at, doing = _parse(ref), f"read {ref}"
        keys = self._client.admin.organization.projects.api_keys
        key = await self._call(doing, keys.retrieve(at.key, project_id=at.project))
        if not isinstance(key, ProjectAPIKey) or getattr(key, "id", None) != at.key:
            raise Retryable(Reason.NONSENSE, f"{doing}: the answer is not this key")
        return key

    def _known(self, step: Step) -> None:
        if step not in self.steps:
            raise Refused(Reason.NOT_SUPPORTED, f"{self.name} cannot {step} a key; it can only delete it (revoke)")

    async def _call(self, doing: str, call: Awaitable[T]) -> T:
        try:
            return await call
        except openai.APIStatusError as exc:
            raise self._of_status(doing, exc) from None
        except openai.APITimeoutError:
            raise Retryable(Reason.TIMEOUT, f"{doing}: no answer in time") from None
        except openai.APIConnectionError:
            raise Retryable(Reason.NETWORK, f"{doing}: no connection") from None
        except (openai.OpenAIError, ValueError, TypeError, AttributeError) as exc:
            # The client builds its models from whatever came; a body of another shape surfaces as one of these.
            raise Retryable(Reason.NONSENSE, f"{doing}: an answer that makes no sense ({type(exc).__name__})") from None

    def _of_status(self, doing: str, exc: openai.APIStatusError) -> ProviderError:
        said = redact(exc.message, self._secret)
        if exc.status_code in {400, 403} and "service account" in said.lower():
            words = f"{doing}: the key belongs to a service account, and the provider will not delete it by itself; "
            return Refused(Reason.SERVICE_ACCOUNT, words + f"delete the service account in the console: {said}")
        return by_status(exc.status_code, doing, said, retry_after=exc.response.headers.get("retry-after"))


def _parse(ref: str) -> _Ref:
    project, _, key = ref.partition("/")
    if not (project.startswith("proj_") and key.startswith("key_")) or "/" in key:
        raise Refused(Reason.BAD_REF, "provider_ref must be proj_.../key_... for OpenAI; look in keys.yaml")
    return _Ref(project, key)
