"""The question that a call asks: which key, which model, how much at most. From headers and JSON body. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from posixpath import normpath
from typing import Any, Final
from urllib.parse import unquote

from gate.adapters.wire import NO_KEY_SHOWN, TWO_KEYS_SHOWN, Answer

_KEY_HEADERS: Final = ("authorization", "x-api-key", "api-key", "x-goog-api-key")
_CEILINGS: Final = ("max_completion_tokens", "max_output_tokens", "max_tokens")
_PROMPTS: Final = ("messages", "input", "prompt", "system", "instructions", "tools", "contents")
_TEXT: Final = 512  # what the gate takes; of a longer name the beginning still tells callers apart
_BYTES_OF_AN_IMAGE: Final = 4_000  # about a thousand tokens, however many bytes its picture has


def key_of(headers: Mapping[str, str]) -> str | Answer:
    """The secret that the client shows, or the refusal. Header names in small letters, one that came twice joined.

    Of two keys nobody could say which one whoever stands behind will take.
    """
    shown = {_bare(part) for name in _KEY_HEADERS for part in headers.get(name, "").split(",")} - {""}
    if len(shown) > 1:
        return TWO_KEYS_SHOWN
    return shown.pop() if shown else NO_KEY_SHOWN


def _bare(value: str) -> str:
    scheme, _, rest = value.strip().partition(" ")
    return rest.strip() if scheme.lower() == "bearer" else value.strip()


def json_of(body: bytes) -> dict[str, Any]:
    """The body, when it is a JSON object; else nothing is known of the call."""
    try:
        read = json.loads(body)
    except ValueError:  # a RecursionError is none: that deep is no call of a model
        return {}
    except RecursionError:
        return {}
    return read if isinstance(read, dict) else {}


def question_of(body: Mapping[str, Any], headers: Mapping[str, str], *, endpoint: str, ip: str = "") -> dict[str, Any]:
    """What the gate is asked, without the key. Fields that the call does not tell are left out."""
    asked = {
        "model": _text(body.get("model")),
        "endpoint": _plain(endpoint)[:_TEXT],
        "input_bytes": input_bytes(body),
        "max_output_tokens": max_output_tokens(body),
        "ip": ip,
        "origin": headers.get("origin", "")[:_TEXT],
        "user_agent": headers.get("user-agent", "")[:_TEXT],
        "user_id": _text(body.get("user"))[:_TEXT],
    }
    return {name: value for name, value in asked.items() if value not in {"", None}}


def _plain(path: str) -> str:
    """The path as whoever stands behind may read it: a policy must not be passed by another spelling of an address.

    >>> _plain("/v1/chat/%2e%2e//embeddings"), _plain("/v1/chat/completions"), _plain("")
    ('/v1/embeddings', '/v1/chat/completions', '')
    """
    return "/" + normpath(unquote(path)).lstrip("/") if path else ""


def input_bytes(body: Mapping[str, Any]) -> int:
    """About how many bytes of text the model reads."""
    return sum(_bytes(body[name]) for name in _PROMPTS if name in body)


def max_output_tokens(body: Mapping[str, Any]) -> int | None:
    """How long the answers may become in all; None when the call does not say."""
    given = [body[name] for name in _CEILINGS if _count(body.get(name))]
    if not given:
        return None
    choices = body.get("n")
    return int(max(given)) * (int(choices) if choices is not None and _count(choices) else 1)


def _count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _bytes(value: object) -> int:
    """Of all texts inside, without recursion: a client may send anything."""
    total, waiting = 0, [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            total += _BYTES_OF_AN_IMAGE if one.startswith("data:") else len(one.encode("utf-8", "replace"))
        elif isinstance(one, dict):
            waiting.extend(one.values())
        elif isinstance(one, list | tuple):
            waiting.extend(one)
        elif isinstance(one, int | float):
            total += 4  # a token of its own: embeddings take them as numbers
    return total
