"""Envoy Gateway and Envoy AI Gateway: a client's API key is taken out of the Kubernetes Secret the gateway reads.

The gateway knows its clients from Secrets that a SecurityPolicy names (`apiKeyAuth.credentialRefs`): each entry is a
client's id and its key. There is no "disabled", so the entry moves to a second Secret beside it that no policy names,
`<secret>.keyfuse-disabled`, and moves back from there. The key never leaves the cluster but to pass through here.

`provider_ref` is `NAMESPACE/SECRET/CLIENT_ID`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from pydantic import SecretStr

from containment.providers.base import Effect, StepSpec
from containment.providers.errors import Reason, Refused, Retryable
from containment.providers.http import JsonApi
from schemas.config.wiring import ProviderConfig
from schemas.records import Step

STEPS: Final[Mapping[Step, StepSpec]] = MappingProxyType(
    {
        "disable": StepSpec(
            True, "key", 10, "The gateway refuses the client (401) on every route that knows it from this Secret."
        )
    }
)
ASIDE: Final = ".keyfuse-disabled"
_REF: Final = re.compile(
    r"(?P<namespace>[a-z0-9][-a-z0-9]{0,62})/(?P<secret>[a-z0-9][-.a-z0-9]{0,200})/(?P<client>[-.\w]{1,253})", re.ASCII
)
_MERGE: Final = {"Content-Type": "application/merge-patch+json"}


class _Ref(NamedTuple):
    namespace: str
    secret: str
    client: str


class _Secret(NamedTuple):
    data: Mapping[str, str]  # still in base64; nobody here needs to see through it
    version: str

    def __repr__(self) -> str:
        return f"_Secret({sorted(self.data)})"


def steps_of(ref: str) -> Mapping[Step, StepSpec]:
    """The steps for one client; nothing for a reference that is not one of Envoy."""
    return STEPS if _REF.fullmatch(ref) else {}


def from_config(name: str, config: ProviderConfig, secret: SecretStr, *, timeout_s: float) -> EnvoyProvider:
    """The provider of `providers.<name>`."""
    return EnvoyProvider(name, secret, base_url=config.base_url, timeout_s=timeout_s, ca_file=config.ca_file)


class EnvoyProvider:
    """The Kubernetes API, of which it touches two Secrets.

    Args:
        name: As events call the provider.
        secret: The token of a service account that may get and patch both Secrets.
        base_url: Of the API server.
        timeout_s: For one call.
        ca_file: The cluster's own certificate authority.
    """

    def __init__(
        self, name: str, secret: SecretStr, *, base_url: str, timeout_s: float = 10, ca_file: str = ""
    ) -> None:
        self.name = name
        self.steps = STEPS
        self._api = JsonApi(base_url, secret, timeout_s=timeout_s, headers={}, ca_file=ca_file)

    def steps_of(self, ref: str) -> Mapping[Step, StepSpec]:
        return steps_of(ref)

    async def snapshot(self, ref: str) -> dict[str, str]:
        at = _parse(ref)
        live, _ = await self._both(at)
        return {"state": "active" if at.client in live.data else "disabled"}

    async def apply(self, step: Step, ref: str) -> str:
        """Copied first, seen to be there, then taken out: whatever fails in between, no key is lost."""
        self._known(step)
        at = _parse(ref)
        live, aside = await self._both(at)
        value = live.data.get(at.client)
        if value is None:
            return "already disabled"
        if aside is None:
            await self._create(at, value)
        elif aside.data.get(at.client) != value:
            await self._patch(at, at.secret + ASIDE, aside, value)
        await self._check(at, at.secret + ASIDE, value)
        await self._patch(at, at.secret, live, None)
        return f"moved to the Secret {at.secret}{ASIDE}"

    async def in_effect(self, step: Step, ref: str, *, pre_state: Mapping[str, str] | None = None) -> Effect:
        self._known(step)
        at = _parse(ref)
        live, _ = await self._both(at)
        if at.client in live.data:
            return Effect("no", f"the Secret {at.secret} has a key for {at.client}")
        return Effect("yes", f"the Secret {at.secret} has no key for {at.client}, and {at.secret}{ASIDE} keeps it")

    async def probe(self, step: Step, ref: str) -> Effect | None:
        return None

    async def undo(self, step: Step, ref: str, pre_state: Mapping[str, str]) -> str:
        """A key that somebody gave the client meanwhile stays; the one put aside is then of no use any more."""
        self._known(step)
        at = _parse(ref)
        live, aside = await self._both(at)
        if pre_state.get("state") == "disabled":
            return "left disabled, as it was before"
        said = "the client has a key, which stays"
        if at.client not in live.data and aside:
            await self._patch(at, at.secret, live, aside.data[at.client])
            await self._check(at, at.secret, aside.data[at.client])
            said = f"moved back to the Secret {at.secret}"
        if aside and at.client in aside.data:
            await self._patch(at, at.secret + ASIDE, aside, None)
        return said

    async def close(self) -> None:
        await self._api.close()

    async def _both(self, at: _Ref) -> tuple[_Secret, _Secret | None]:
        """The Secret the gateway reads, and the one beside it. Raises Refused when neither knows the client."""
        live, aside = await self._read(at, at.secret), await self._or_none(at, at.secret + ASIDE)
        if at.client not in live.data and not (aside and at.client in aside.data):
            words = f"read {at.secret}: neither this Secret nor {at.secret}{ASIDE} knows the client {at.client}"
            raise Refused(Reason.UNKNOWN_KEY, words)
        return live, aside

    async def _or_none(self, at: _Ref, name: str) -> _Secret | None:
        try:
            return await self._read(at, name)
        except Refused as refused:
            if refused.reason is Reason.UNKNOWN_KEY:
                return None
            raise

    async def _read(self, at: _Ref, name: str) -> _Secret:
        doing = f"read the Secret {name}"
        answer = await self._api.call("GET", f"{_path(at)}/{name}", doing)
        metadata, data = answer.get("metadata"), answer.get("data") or {}
        version = metadata.get("resourceVersion") if isinstance(metadata, dict) else None
        known = answer.get("kind") == "Secret" and isinstance(metadata, dict) and metadata.get("name") == name
        if not known or not isinstance(data, dict) or not isinstance(version, str):
            raise Retryable(Reason.NONSENSE, f"{doing}: the answer is not this Secret")
        return _Secret(data, version)

    async def _check(self, at: _Ref, name: str, value: str) -> None:
        """That the copy is there, before the other is deleted: an answer alone is not believed."""
        found = await self._or_none(at, name)
        if found is None or found.data.get(at.client) != value:
            raise Retryable(Reason.NONSENSE, f"change the Secret {name}: answered as done, and it is not")

    async def _create(self, at: _Ref, value: str) -> None:
        name = at.secret + ASIDE
        body = {
            "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
            "metadata": {"name": name, "labels": {"app.kubernetes.io/managed-by": "keyfuse"}},
            "data": {at.client: value},
        }  # fmt: skip
        await self._api.call("POST", _path(at), f"create the Secret {name}", body=body, hide=value)

    async def _patch(self, at: _Ref, name: str, seen: _Secret, value: str | None) -> None:
        """Refused as a conflict (409), to be tried again, when somebody wrote since we read."""
        body = {"metadata": {"resourceVersion": seen.version}, "data": {at.client: value}}
        doing, path = f"change the Secret {name}", f"{_path(at)}/{name}"
        await self._api.call("PATCH", path, doing, body=body, headers=_MERGE, hide=value or "")

    def _known(self, step: Step) -> None:
        if step not in self.steps:
            raise Refused(Reason.NOT_SUPPORTED, f"{self.name} cannot {step} a key; it can disable it at the gateway")


def _path(at: _Ref) -> str:
    return f"/api/v1/namespaces/{at.namespace}/secrets"


def _parse(ref: str) -> _Ref:
    found = _REF.fullmatch(ref)
    if found is None:
        words = "provider_ref must be NAMESPACE/SECRET/CLIENT_ID for Envoy, never a key's value; look in keys.yaml"
        raise Refused(Reason.BAD_REF, words)
    return _Ref(found["namespace"], found["secret"], found["client"])
