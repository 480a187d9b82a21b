"""What Google lets one do with its two sorts of keys. The steps and their words are in `google.py`."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Protocol

from pydantic import SecretStr

from containment.providers.base import Effect
from containment.providers.errors import Reason, Refused, Retryable, by_status
from containment.providers.redact import redact
from schemas.records import Step

MODELS: Final = frozenset({"generativelanguage.googleapis.com", "aiplatform.googleapis.com"})
NOWHERE: Final = "apikeys.googleapis.com"
"""For a key that keeps no service: an empty list would allow all of them, and this one serves nobody by an API key."""
_OPERATION: Final = re.compile(r"operations/[\w.-]{1,200}", re.ASCII)
_POLLS_S: Final = (0.2, 0.4, 0.8, 1.6)
"""Pauses between looks at an operation: three seconds together, well within the time of one call."""
_AS_HTTP: Final = {3: 400, 5: 404, 7: 403, 8: 429, 9: 400, 10: 409, 13: 500, 14: 503, 16: 401}
"""google.rpc.Code, as an operation tells its failure, to the HTTP status that means the same."""


class Call(Protocol):
    """`GoogleRest.call`."""

    async def __call__(
        self, method: str, url: str, doing: str, *, body: object = None, query: dict[str, str] | None = None
    ) -> dict[str, Any]: ...


class Keys(Protocol):
    """One sort of keys: the provider's own methods, for a reference and a step that are known to fit."""

    async def snapshot(self, ref: str) -> dict[str, str]: ...
    async def apply(self, step: Step, ref: str) -> str: ...
    async def in_effect(self, step: Step, ref: str) -> Effect: ...
    async def undo(self, step: Step, ref: str, pre_state: Mapping[str, str]) -> str: ...


class ApiKeys:
    """API Keys v2. Its changes are operations that go on after the answer."""

    def __init__(self, call: Call, base_url: str, sleep: Callable[[float], Awaitable[object]]) -> None:
        self._call = call
        self._url = f"{base_url}/v2/"
        self._sleep = sleep

    async def snapshot(self, ref: str) -> dict[str, str]:
        key = await self._read(ref)
        restrictions = json.dumps(key.get("restrictions", {}), sort_keys=True)
        return {"status": "deleted" if "deleteTime" in key else "active", "restrictions": restrictions}

    async def apply(self, step: Step, ref: str) -> str:
        key = await self._read(ref)
        if "deleteTime" in key:
            return "already deleted"
        if step == "revoke":
            return await self._change("DELETE", ref, f"delete {ref}")
        return await self._restrict(ref, _kept_out(key.get("restrictions", {})))

    async def in_effect(self, step: Step, ref: str) -> Effect:
        key = await self._read(ref)
        if "deleteTime" in key:
            return Effect("yes", f"the key was deleted at {key['deleteTime']}")
        if step == "revoke":
            return Effect("no", "the key is not deleted")
        allowed = _services(key.get("restrictions", {}))
        words = f"the key is for {', '.join(sorted(allowed)) or 'all services'}"
        return Effect("yes" if allowed and not allowed & MODELS else "no", words)

    async def undo(self, step: Step, ref: str, pre_state: Mapping[str, str]) -> str:
        deleted = "deleteTime" in await self._read(ref)
        if step == "block":
            if deleted:
                raise Refused(Reason.REJECTED, f"undo block of {ref}: the key is deleted; undelete it first")
            if "restrictions" not in pre_state:  # none at all would open the key to everything
                raise Refused(Reason.FINAL, f"undo block of {ref}: nobody saved its restrictions; set them by hand")
            return await self._restrict(ref, json.loads(pre_state["restrictions"]))
        if not deleted or pre_state.get("status") == "deleted":
            return "left as it was before"
        return await self._change("POST", f"{ref}:undelete", f"undelete {ref}", body={})

    async def _read(self, ref: str) -> dict[str, Any]:
        doing = f"read {ref}"
        key = await self._call("GET", self._url + ref, doing)
        restrictions = key.get("restrictions", {})
        shaped = isinstance(restrictions, dict) and isinstance(restrictions.get("apiTargets", []), list)
        if not shaped or not _is_named(key, ref) or not isinstance(key.get("deleteTime", ""), str):
            raise Retryable(Reason.NONSENSE, f"{doing}: the answer is not this key with restrictions we know")
        return key

    async def _restrict(self, ref: str, restrictions: dict[str, Any]) -> str:
        body, query = {"restrictions": restrictions}, {"updateMask": "restrictions"}
        return await self._change("PATCH", ref, f"restrict {ref}", body=body, query=query)

    async def _change(
        self, method: str, path: str, doing: str, *, body: object = None, query: dict[str, str] | None = None
    ) -> str:
        """Asks, and watches the operation for a while; one that takes longer is for the caller's reading back."""
        operation = await self._call(method, self._url + path, doing, body=body, query=query)
        name = operation.get("name")
        for pause_s in _POLLS_S:
            if _ended(operation, doing):
                return "done"
            if not isinstance(name, str) or not _OPERATION.fullmatch(name):
                raise Retryable(Reason.NONSENSE, f"{doing}: the answer is no operation")
            await self._sleep(pause_s)
            operation = await self._call("GET", self._url + name, f"{doing}: read its operation")
        return "done" if _ended(operation, doing) else f"asked for; {name} still goes on"


class AccountKeys:
    """IAM v1: the keys of service accounts. Its changes are made when it answers."""

    def __init__(self, call: Call, base_url: str) -> None:
        self._call = call
        self._url = f"{base_url}/v1/"

    async def snapshot(self, ref: str) -> dict[str, str]:
        return {"status": await self._status(ref)}

    async def apply(self, step: Step, ref: str) -> str:
        if step == "disable":
            return await self._post(ref, "disable")
        try:
            await self._call("DELETE", self._url + ref, f"delete {ref}")
        except Refused as refused:
            if refused.reason is Reason.UNKNOWN_KEY:
                return "already gone: the provider does not know this key"
            raise
        return "deleted"

    async def in_effect(self, step: Step, ref: str) -> Effect:
        if step == "revoke":
            gone = not await self._listed(ref)
            return (
                Effect("yes", "the key is gone from its service account") if gone else Effect("no", "it still exists")
            )
        status = await self._status(ref)
        return Effect("yes" if status == "disabled" else "no", f"the key is {status}")

    async def undo(self, step: Step, ref: str, pre_state: Mapping[str, str]) -> str:
        if step == "revoke":
            raise Refused(Reason.FINAL, f"undo revoke of {ref}: a deleted key cannot come back; create a new one")
        if pre_state.get("status") == "disabled":
            return "left disabled, as it was before"
        return await self._post(ref, "enable")

    async def _post(self, ref: str, verb: str) -> str:
        await self._call("POST", f"{self._url}{ref}:{verb}", f"{verb} {ref}", body={})
        return f"{verb}d"

    async def _listed(self, ref: str) -> bool:
        """Looked for in the list: "not found" could be the word of anything on the way. No account has an empty one."""
        doing = f"read {ref}"
        keys = (await self._call("GET", self._url + ref.rpartition("/")[0], doing)).get("keys")
        if not keys or not isinstance(keys, list) or not all(isinstance(key, dict) for key in keys):
            raise Retryable(Reason.NONSENSE, f"{doing}: the answer is not the list of its service account's keys")
        return any(_is_named(key, ref) for key in keys)

    async def _status(self, ref: str) -> str:
        doing = f"read {ref}"
        key = await self._call("GET", self._url + ref, doing)
        disabled = key.get("disabled", False)  # left out where false
        if not _is_named(key, ref) or not isinstance(disabled, bool):
            raise Retryable(Reason.NONSENSE, f"{doing}: the answer is not this key")
        return "disabled" if disabled else "active"


def _is_named(key: Mapping[str, Any], ref: str) -> bool:
    """By its last part: Google answers with the project's number where it was asked with its id."""
    return str(key.get("name")).endswith("/keys/" + ref.rpartition("/")[2])


def _services(restrictions: Mapping[str, Any]) -> set[str]:
    """The services a key is restricted to, in small letters; none: it is not restricted."""
    targets = restrictions.get("apiTargets", [])
    return {str(target.get("service", "")).lower() for target in targets if isinstance(target, dict)}


def _kept_out(restrictions: Mapping[str, Any]) -> dict[str, Any]:
    """The restrictions without the models. Other services that were named stay, and so does who may call from where."""
    targets = [
        target for target in restrictions.get("apiTargets", []) if not _services({"apiTargets": [target]}) & MODELS
    ]
    return {**restrictions, "apiTargets": targets or [{"service": NOWHERE}]}


def _ended(operation: Mapping[str, Any], doing: str) -> bool:
    """Raises ProviderError when the operation failed."""
    error = operation.get("error")
    if isinstance(error, dict):
        raise by_status(
            _AS_HTTP.get(error.get("code", 0), 500), doing, redact(str(error.get("message", "")), SecretStr(""))
        )
    return operation.get("done") is True
