"""LiteLLM's proxy asks the gate before each call, and tells afterwards what it cost.

    litellm_settings:
      callbacks: gate.adapters.litellm.keyfuse
    general_settings:
      custom_auth: gate.adapters.litellm.custom_auth   # only for keys that Keyfuse issued (kfk_...)
      custom_auth_run_common_checks: true

Settings come from the environment (`gate.adapters.settings`). This module lives in LiteLLM's process: beside LiteLLM
and httpx it needs nothing.
"""

from __future__ import annotations

import atexit
import functools
import logging
import os
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import litellm.constants
from fastapi import HTTPException, Request
from litellm.integrations.custom_logger import CustomLogger
from litellm.proxy._types import LitellmUserRoles, ProxyException, UserAPIKeyAuth

from gate.adapters.asking import AsyncGate
from gate.adapters.outbox import Outbox
from gate.adapters.payload import event_of, used_of
from gate.adapters.question import question_of
from gate.adapters.settings import Settings, settings_from
from gate.adapters.wire import PREFIX, Answer, headers_of, refusal, words

_LOG: Final = logging.getLogger("keyfuse.adapter")
_OPEN: Final = 100_000  # calls under way
_NOBODY: Final = "litellm:anonymous"  # a proxy without any keys
_HEADERS: Final = "keyfuse_headers"
_RAW_MODEL: Final = getattr(litellm.constants, "RETURN_RAW_MODEL_NAME_METADATA_KEY", "")


class Keyfuse(CustomLogger):  # type: ignore[misc] # LiteLLM lives in an environment of its own
    """The callback. One for each proxy process."""

    def __init__(self, settings: Settings, *, gate: AsyncGate | None = None, outbox: Outbox | None = None) -> None:
        super().__init__()
        self._gate = gate or AsyncGate(settings)
        self._outbox = outbox or Outbox(settings)
        self._calls: OrderedDict[str, Answer] = OrderedDict()  # by LiteLLM's id of the call, until it is over
        self._key_ids: OrderedDict[str, str] = OrderedDict()  # secret → key_id, of keys that were refused at the door

    async def async_pre_call_hook(
        self, user_api_key_dict: UserAPIKeyAuth, cache: object, data: dict[str, Any], call_type: str
    ) -> dict[str, Any]:
        """Refused calls end here, with the gate's words; a degraded one goes on with the cheaper model."""
        answer = await self._gate.ask({"key_id": user_api_key_dict.api_key or _NOBODY} | _question(data))
        if not answer.passes:
            raise _refused(answer)
        self._remember(str(data.get("litellm_call_id") or ""), answer)
        if answer.state == "degrade":
            data["model"] = answer.model
            # Without the first LiteLLM would tell the client that the model it had asked for has answered.
            _metadata(data).update({_RAW_MODEL: True, _HEADERS: headers_of(answer)})
        return data

    async def async_post_call_response_headers_hook(
        self, data: dict[str, Any], user_api_key_dict: UserAPIKeyAuth, response: object, **_: object
    ) -> dict[str, str]:
        """Tells the client that its call was degraded, and why."""
        return _metadata(data).get(_HEADERS) or {}

    async def async_log_success_event(
        self, kwargs: dict[str, Any], response_obj: object, start_time: object, end_time: object
    ) -> None:
        self._over(kwargs)

    async def async_log_failure_event(
        self, kwargs: dict[str, Any], response_obj: object, start_time: object, end_time: object
    ) -> None:
        """A refused call as well: it cost nothing, and is evidence. An attempt that failed may be tried again."""
        self._over(kwargs, failed=True)

    async def async_post_call_failure_hook(self, request_data: dict[str, Any], *_: object, **__: object) -> None:
        """The whole request failed, after all attempts: nothing was used but what is settled already."""
        self._settle(str(request_data.get("litellm_call_id") or ""), {"cost_usd": 0.0})

    async def authenticate(self, request: Request, api_key: str) -> UserAPIKeyAuth | None:
        """Of `kfk_` keys; None: LiteLLM's own way goes on, for its master key and the keys it issued itself."""
        if not api_key.startswith(PREFIX):
            return None
        answer = await self._gate.ask({"key": api_key, "requests": 0})
        if answer.away and not self._gate.memory.known(api_key):
            answer = Answer("deny", "the gate does not answer, and nobody else knows this key", "gate away", away=True)
        if answer.state == "deny":
            _put(self._key_ids, api_key, answer.key_id)
            raise _at_the_door(answer)
        return UserAPIKeyAuth(
            api_key=answer.key_id,
            user_role=LitellmUserRoles.INTERNAL_USER,
            allowed_routes=["llm_api_routes"],
        )

    def close(self) -> None:
        self._outbox.close()

    def _remember(self, call_id: str, answer: Answer) -> None:
        self._settle(call_id, {"cost_usd": 0.0})  # asked twice for one call: the first was not made
        _put(self._calls, call_id, answer)

    def _over(self, kwargs: Mapping[str, Any], *, failed: bool = False) -> None:
        payload = kwargs.get("standard_logging_object")
        if not isinstance(payload, Mapping):
            return
        key_id = str((payload.get("metadata") or {}).get("user_api_key_hash") or _NOBODY)
        if key_id.startswith(PREFIX):  # refused at the door: LiteLLM only knows what it was shown
            key_id = self._key_ids.get(key_id, "")
        if key_id:
            self._outbox.tell(event_of(payload, key_id))
        used = used_of(payload)
        if not failed or used["output_tokens"]:  # a stream that broke has used what it gave
            self._settle(str(payload.get("litellm_call_id") or ""), used)

    def _settle(self, call_id: str, used: Mapping[str, Any]) -> None:
        answer = self._calls.pop(call_id, None)
        if answer is not None and answer.reservation:
            self._outbox.settle({"reservation": answer.reservation, **used})


def _question(data: Mapping[str, Any]) -> dict[str, Any]:
    asked = data.get("proxy_server_request") or {}
    headers = {str(name).lower(): str(value) for name, value in (asked.get("headers") or {}).items()}
    ip = str(_metadata(data).get("requester_ip_address") or "").split(",", 1)[0].strip()
    return question_of(data, headers, endpoint=urlsplit(str(asked.get("url") or "")).path, ip=ip)


def _metadata(data: Mapping[str, Any]) -> dict[str, Any]:
    """LiteLLM's own, of this call; some endpoints keep it apart from the client's."""
    for name in ("litellm_metadata", "metadata"):
        found = data.get(name)
        if isinstance(found, dict):
            return found
    return {}


def _refused(answer: Answer) -> HTTPException:
    return HTTPException(status_code=answer.status, detail=words(answer), headers=headers_of(answer))


def _at_the_door(answer: Answer) -> ProxyException:
    """The same where LiteLLM authenticates, for there it leaves out the headers of others."""
    return ProxyException(
        words(answer), refusal(answer)["error"]["type"], None, code=answer.status, headers=headers_of(answer)
    )


def _put(kept: OrderedDict[str, Any], name: str, value: object) -> None:
    kept[name] = value
    if len(kept) > _OPEN:
        kept.popitem(last=False)


@functools.cache
def installed() -> Keyfuse:
    """The one of this process, by the environment. ValueError, which ends LiteLLM's start, when a setting is wrong."""
    built = Keyfuse(settings_from(os.environ))
    atexit.register(built.close)
    return built


async def custom_auth(request: Request, api_key: str) -> UserAPIKeyAuth | None:
    """LiteLLM's `custom_auth`."""
    return await installed().authenticate(request, api_key)


def __getattr__(name: str) -> object:
    """`keyfuse` is made when LiteLLM asks for it: importing this module does nothing."""
    if name == "keyfuse":
        return installed()
    raise AttributeError(name)
