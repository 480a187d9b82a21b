"""LiteLLM's StandardLoggingPayload: what of it may travel, and what a call used. Pure.

The intake reads this format itself; here it is only cut down, so that no prompt and no answer leaves the proxy.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final

_FIELDS: Final = (
    "litellm_call_id", "call_type", "startTime", "endTime", "status", "custom_llm_provider", "model", "model_group",
    "prompt_tokens", "completion_tokens", "total_tokens", "response_cost", "cache_hit", "end_user",
    "requester_ip_address", "user_agent",
)  # fmt: skip
_METADATA: Final = (
    "user_api_key_alias", "user_api_key_team_alias", "user_api_key_team_id", "user_api_key_end_user_id",
    "user_api_key_user_id", "requester_ip_address", "user_agent",
)  # fmt: skip
_ID: Final = 256
_ERROR: Final = ("error_code", "error_class", "llm_provider")
_USAGE: Final = (
    "prompt_tokens_details", "completion_tokens_details", "cache_read_input_tokens", "cache_creation_input_tokens",
)  # fmt: skip


def event_of(payload: Mapping[str, Any], key_id: str) -> dict[str, Any]:
    """For `POST /v1/events`; told of `key_id`.

    The model is named as the client and the gate name it, or policies would judge the same call by two names. Only
    where LiteLLM knows no cost it is the provider's own name, for Keyfuse to find the price by.
    """
    meta = _object(payload.get("metadata"))
    kept = _some(payload, _FIELDS) | {"id": _id(payload)}
    if payload.get("model_group") and payload.get("response_cost"):
        kept["model"] = payload["model_group"]
    kept["metadata"] = _some(meta, _METADATA) | {"user_api_key_hash": key_id}
    kept["metadata"]["usage_object"] = _some(_object(meta.get("usage_object")), _USAGE)
    error = _some(_object(payload.get("error_information")), _ERROR)
    return kept | ({"error_information": error} if error else {})


def used_of(payload: Mapping[str, Any]) -> dict[str, Any]:
    """For `POST /v1/settle`. A cost of nothing for a call that used tokens is one that LiteLLM could not find."""
    used: dict[str, Any] = {
        "input_tokens": int(payload.get("prompt_tokens") or 0),
        "output_tokens": int(payload.get("completion_tokens") or 0),
    }
    cost = payload.get("response_cost")
    free = cost == 0 and payload.get("cache_hit") is not True and any(used.values())
    return used if cost is None or free else used | {"cost_usd": float(cost)}


def _id(payload: Mapping[str, Any]) -> str:
    """Of the answer, or of the call where there is none. Those of the Responses API may be too long for an event."""
    given = str(payload.get("id") or payload.get("litellm_call_id") or "")
    return given if len(given) <= _ID else "sha256:" + hashlib.sha256(given.encode()).hexdigest()


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _some(of: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: of[name] for name in names if of.get(name) is not None}
