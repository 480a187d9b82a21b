"""Kong Gateway, by its Admin API: a credential is deleted for good; its consumer is stopped or slowed, undoably.

`provider_ref` is `CONSUMER/KEY_AUTH_ID`, or `CONSUMER/KEY_AUTH_ID/sole` where the consumer has that credential alone.
Kong's plugins act on consumers: without `sole`, stopping one credential stops the consumer's others with it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from pydantic import SecretStr

from containment.providers.base import Effect, StepSpec
from containment.providers.errors import Reason, Refused, Retryable
from containment.providers.http import JsonApi
from schemas.config.wiring import ProviderConfig
from schemas.records import Step

PER_MINUTE: Final = 1
_ALL: Final = "Every credential of the consumer, not only this one,"
STEPS: Final[Mapping[Step, StepSpec]] = MappingProxyType(
    {
        "throttle": StepSpec(True, "project", 10, f"{_ALL} gets {PER_MINUTE} request a minute at each Kong node."),
        "block": StepSpec(True, "project", 10, f"{_ALL} is refused (403) until the consumer is let through again."),
        "revoke": StepSpec(False, "key", 10, "Deletes the credential for good; its users need a new one."),
    }
)
_SOLE: Final = "The consumer and its only credential"
_REF: Final = re.compile(
    r"(?P<consumer>(?!\.{1,2}/)[^/\s][^/]*)/(?P<key>[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})(?P<sole>/sole)?"
)
_TAG: Final = "keyfuse"
_PLUGIN: Final[Mapping[Step, str]] = {"throttle": "rate-limiting", "block": "request-termination"}
_NEW: Final[Mapping[Step, Mapping[str, object]]] = {
    "throttle": {"minute": PER_MINUTE, "policy": "local"},
    "block": {"status_code": 403, "message": "This key was stopped. Ask who gave it to you."},
}
# What makes a plugin of somebody else do the same. Kong wants the limit of a second below that of a minute.
_CHANGE: Final[Mapping[Step, Mapping[str, object]]] = {
    "throttle": {"minute": PER_MINUTE, "second": None},
    "block": {"trigger": None},
}


class _Ref(NamedTuple):
    consumer: str  # as it stands in a path
    key: str
    sole: bool


class _Plugin(NamedTuple):
    id: str
    enabled: bool
    config: Mapping[str, Any]
    narrow: bool  # for one route, service or group of this consumer; there it goes before the one for all
    ours: bool

    def saved(self, step: Step) -> dict[str, object]:
        """What `_CHANGE` changes, and nothing else: the configuration may hold a password."""
        return {"enabled": self.enabled, "config": {name: self.config.get(name) for name in _CHANGE[step]}}


def steps_of(ref: str) -> Mapping[Step, StepSpec]:
    """The steps for one credential; with `/sole` they reach no further than it."""
    found = _REF.fullmatch(ref)
    if found is None or not found["sole"]:
        return STEPS if found else {}
    return {step: spec._replace(scope="key", breaks=spec.breaks.replace(_ALL, _SOLE)) for step, spec in STEPS.items()}


def from_config(name: str, config: ProviderConfig, secret: SecretStr, *, timeout_s: float) -> KongProvider:
    """The provider of `providers.<name>`."""
    return KongProvider(name, secret, base_url=config.base_url, timeout_s=timeout_s, ca_file=config.ca_file)


class KongProvider:
    """The Admin API, with a database behind it: without one, Kong refuses every change (405).

    Args:
        name: As events call the provider.
        secret: An RBAC token, sent as `Kong-Admin-Token`, and as a bearer token for a proxy in front.
        base_url: Of the Admin API; with the workspace as its last part where there are several.
        timeout_s: For one call.
        ca_file: Certificates to trust instead of the public ones.
    """

    def __init__(
        self, name: str, secret: SecretStr, *, base_url: str, timeout_s: float = 10, ca_file: str = ""
    ) -> None:
        self.name = name
        self.steps = STEPS
        headers = {"Kong-Admin-Token": secret.get_secret_value()}
        self._api = JsonApi(base_url, secret, timeout_s=timeout_s, headers=headers, ca_file=ca_file)

    def steps_of(self, ref: str) -> Mapping[Step, StepSpec]:
        return steps_of(ref)

    async def snapshot(self, ref: str) -> dict[str, str]:
        at = _parse(ref)
        await self._credential(at)
        state = {"credential": "present"}
        for step in _PLUGIN:
            found = _whole(await self._plugins(step, at))
            state[step] = json.dumps(found.saved(step) if found else None)
        return state

    async def apply(self, step: Step, ref: str) -> str:
        self._known(step)
        at = _parse(ref)
        if step == "revoke":
            await self._api.call("DELETE", f"{_path(at)}/key-auth/{at.key}", f"delete {ref}")
            return "deleted"
        await self._check_sole(at, f"{step} {ref}")
        found, doing = _whole(await self._plugins(step, at)), f"{step} {ref}"
        if found is None:
            new = {"name": _PLUGIN[step], "enabled": True, "config": _NEW[step], "tags": [_TAG]}
            await self._api.call("POST", f"{_path(at)}/plugins", doing, body=new)
            return f"{_PLUGIN[step]} added to the consumer"
        await self._change(at, found, doing, {"enabled": True, "config": _CHANGE[step]})
        return f"the consumer's {_PLUGIN[step]} changed"

    async def in_effect(self, step: Step, ref: str, *, pre_state: Mapping[str, str] | None = None) -> Effect:
        self._known(step)
        at = _parse(ref)
        return await self._gone(at) if step == "revoke" else _effect(step, await self._plugins(step, at))

    async def probe(self, step: Step, ref: str) -> Effect | None:
        return None

    async def undo(self, step: Step, ref: str, pre_state: Mapping[str, str]) -> str:
        self._known(step)
        at, doing = _parse(ref), f"undo {step} of {ref}"
        if step == "revoke":
            raise Refused(Reason.FINAL, f"{doing}: a deleted credential cannot come back; make a new one")
        found = _whole(await self._plugins(step, at))
        if step not in pre_state:
            raise Refused(Reason.FINAL, f"{doing}: nobody saved how the consumer stood; look at its plugins")
        if found is None:
            return f"the consumer has no {_PLUGIN[step]} any more"
        before = json.loads(pre_state[step])
        if before is not None:
            await self._change(at, found, doing, before)
            return f"the consumer's {_PLUGIN[step]} put back"
        if not found.ours:
            raise Refused(Reason.REJECTED, f"{doing}: somebody else made the {_PLUGIN[step]} that is there now")
        await self._api.call("DELETE", f"{_path(at)}/plugins/{found.id}", doing)
        return f"{_PLUGIN[step]} taken from the consumer"

    async def close(self) -> None:
        await self._api.close()

    async def _change(self, at: _Ref, plugin: _Plugin, doing: str, change: Mapping[str, object]) -> None:
        await self._api.call("PATCH", f"{_path(at)}/plugins/{plugin.id}", doing, body=change)

    async def _credential(self, at: _Ref) -> None:
        """That it is there. The answer holds its value, which goes no further than this function."""
        doing = f"read credential {at.key}"
        answer = await self._api.call("GET", f"{_path(at)}/key-auth/{at.key}", doing)
        if answer.get("id") != at.key:
            raise Retryable(Reason.NONSENSE, f"{doing}: the answer is not this credential")

    async def _gone(self, at: _Ref) -> Effect:
        try:
            await self._credential(at)
        except Refused as refused:
            if refused.reason is Reason.UNKNOWN_KEY:
                return Effect("yes", "the credential is gone")
            raise
        return Effect("no", "the credential still exists")

    async def _check_sole(self, at: _Ref, doing: str) -> None:
        if not at.sole:
            return
        found = await self._list(f"{_path(at)}/key-auth", doing)
        if [each.get("id") for each in found] != [at.key]:
            words = f"the consumer has {len(found)} credentials; without /sole in its provider_ref a person decides"
            raise Refused(Reason.REJECTED, f"{doing}: {words}")

    async def _plugins(self, step: Step, at: _Ref) -> list[_Plugin]:
        doing = f"read the plugins of consumer {at.consumer}"
        found = [
            _plugin(each)
            for each in await self._list(f"{_path(at)}/plugins", doing)
            if each.get("name") == _PLUGIN[step]
        ]
        if None in found:
            raise Retryable(Reason.NONSENSE, f"{doing}: a plugin without an id or a configuration")
        return [each for each in found if each]

    async def _list(self, path: str, doing: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        query = {"size": "1000"}
        while True:
            page = await self._api.call("GET", path, doing, query=query)
            data, offset = page.get("data"), page.get("offset")
            if not isinstance(data, list) or not all(isinstance(each, dict) for each in data):
                raise Retryable(Reason.NONSENSE, f"{doing}: the answer is no list")
            found += data
            if not isinstance(offset, str):
                return found
            query = {"size": "1000", "offset": offset}

    def _known(self, step: Step) -> None:
        if step not in self.steps:
            raise Refused(Reason.NOT_SUPPORTED, f"{self.name} cannot {step} a key; it can {', '.join(self.steps)}")


def _effect(step: Step, plugins: list[_Plugin]) -> Effect:
    whole, name = _whole(plugins), _PLUGIN[step]
    if whole is None or not _stops(step, whole):
        return Effect("no", f"no {name} of ours is in force for the consumer")
    if any(each.narrow and each.enabled and not _stops(step, each) for each in plugins):
        return Effect("unknown", f"on some route or service another {name} of this consumer goes before ours")
    return Effect("yes", f"{name} is in force for the consumer")


def _stops(step: Step, plugin: _Plugin) -> bool:
    if step == "block":  # with a trigger it waits for a header
        return plugin.enabled and plugin.config.get("trigger") is None
    minute = plugin.config.get("minute")
    return plugin.enabled and isinstance(minute, int | float) and minute <= PER_MINUTE


def _whole(plugins: list[_Plugin]) -> _Plugin | None:
    return next((each for each in plugins if not each.narrow), None)


def _plugin(each: Mapping[str, Any]) -> _Plugin | None:
    config, enabled, tags = each.get("config"), each.get("enabled"), each.get("tags") or []
    if not isinstance(each.get("id"), str) or not isinstance(config, dict) or not isinstance(enabled, bool):
        return None
    narrow = any(each.get(name) for name in ("route", "service", "consumer_group"))
    return _Plugin(each["id"], enabled, config, narrow, _TAG in tags)


def _path(at: _Ref) -> str:
    return f"/consumers/{at.consumer}"


def _parse(ref: str) -> _Ref:
    found = _REF.fullmatch(ref)
    if found is None:
        words = "provider_ref must be CONSUMER/KEY_AUTH_ID for Kong, with the credential's id and never its value"
        raise Refused(Reason.BAD_REF, f"{words}; look in keys.yaml")
    return _Ref(quote(found["consumer"], safe=""), found["key"].lower(), bool(found["sole"]))
