"""LiteLLM's StandardLoggingPayload, as its proxy hands it to every logging callback.

LiteLLM counts like OpenAI: `prompt_tokens` includes cached and cache-written tokens for every provider. Two of its
habits are undone here. A cost it could not find is logged as 0.0, so a zero cost of a request that used tokens and
was not answered from LiteLLM's own cache is left out and priced from the table. And a failure without an HTTP code
is given 500.
"""

from __future__ import annotations

from typing import Any, Final

from schemas.event import MAX_TEXT

NAME: Final = "litellm"
_MAX_USER_AGENT: Final = 1024
_NO_CODE: Final = 500


def recognises(doc: dict[str, Any]) -> bool:
    return "startTime" in doc and ("litellm_call_id" in doc or "call_type" in doc)


def parse(doc: dict[str, Any]) -> dict[str, Any]:
    """Field by field; `messages`, `response` and the error's own text are not looked at."""
    meta = _object(doc.get("metadata"))
    error = _object(doc.get("error_information"))
    return {
        "event_id": doc.get("id") or doc.get("litellm_call_id"),
        "ts": doc.get("startTime"),
        "provider": doc.get("custom_llm_provider") or error.get("llm_provider") or "unknown",
        "key_id": meta.get("user_api_key_hash"),
        "model": doc.get("model") or doc.get("model_group") or "unknown",
        "endpoint": doc.get("call_type"),
        **_tokens(doc, _object(meta.get("usage_object"))),
        "cost_usd": _cost(doc),
        "status": _status(doc.get("status"), error.get("error_code")),
        "error": _clip(error.get("error_class") or None, MAX_TEXT),
        "latency_ms": _latency_ms(doc.get("startTime"), doc.get("endTime")),
        "ip": _first_ip(doc.get("requester_ip_address") or meta.get("requester_ip_address")),
        "user_agent": _clip(doc.get("user_agent") or meta.get("user_agent"), _MAX_USER_AGENT),
        "user_id": _clip(_user(doc, meta), MAX_TEXT),
        "team": meta.get("user_api_key_team_alias") or meta.get("user_api_key_team_id"),
        "app": meta.get("user_api_key_alias"),
    }


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _tokens(doc: dict[str, Any], usage: dict[str, Any]) -> dict[str, Any]:
    prompt = _object(usage.get("prompt_tokens_details"))
    completion = _object(usage.get("completion_tokens_details"))
    return {
        "input_tokens": doc.get("prompt_tokens"),
        "cached_input_tokens": _first_given(prompt.get("cached_tokens"), usage.get("cache_read_input_tokens")),
        "cache_write_tokens": _first_given(
            prompt.get("cache_creation_tokens"), usage.get("cache_creation_input_tokens")
        ),
        "output_tokens": doc.get("completion_tokens"),
        "reasoning_tokens": completion.get("reasoning_tokens"),
    }


def _first_given(first: object, second: object) -> object:
    return second if first is None else first


def _cost(doc: dict[str, Any]) -> object:
    cost = doc.get("response_cost")
    used = doc.get("total_tokens") or doc.get("prompt_tokens") or doc.get("completion_tokens")
    return None if cost == 0 and used and doc.get("cache_hit") is not True else cost


def _status(status: object, code: object) -> int:
    if status != "failure":
        return 200
    text = str(code)
    return int(text) if len(text) == 3 and text.isascii() and text.isdigit() else _NO_CODE


def _latency_ms(start: object, end: object) -> float | None:
    if isinstance(start, int | float) and isinstance(end, int | float) and end >= start:
        return (end - start) * 1000.0
    return None


def _first_ip(value: object) -> object:
    """A proxy's list (`client, hop, hop`) starts with the client."""
    return value.split(",", 1)[0].strip() if isinstance(value, str) else value


def _user(doc: dict[str, Any], meta: dict[str, Any]) -> object:
    return doc.get("end_user") or meta.get("user_api_key_end_user_id") or meta.get("user_api_key_user_id")


def _clip(value: object, limit: int) -> object:
    """Text of a client may be longer than the native event takes; its beginning still tells callers apart."""
    return value[:limit] if isinstance(value, str) else value
