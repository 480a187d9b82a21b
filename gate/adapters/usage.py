"""What a call used, as the provider's own answer says: JSON or a stream of events, OpenAI's or Anthropic's way. Pure.

Input counts as Keyfuse counts: cached and cache-written tokens are part of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

_LINE_BYTES: Final = 4_000_000  # of a stream; a longer one is not looked at
_BODY_BYTES: Final = 32_000_000
_PIECES: Final = (b'"choices":[{', b'"choices": [{', b"content_block_delta", b"output_text.delta")


class Used(NamedTuple):
    """Tokens of one call; `known` is False when the answer did not say."""

    input_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    model: str = ""
    known: bool = False


def used_of(body: Mapping[str, Any], before: Used) -> Used:
    """Adds what one JSON object says; Anthropic's streams say it in two."""
    inner = body.get("response") or body.get(
        "message"
    )  # the last event of a Responses stream; the first of Anthropic's
    if isinstance(inner, dict):
        body = inner
    model = body.get("model")
    said = before._replace(model=model) if isinstance(model, str) and model else before
    usage = body.get("usage")
    if not isinstance(usage, dict):
        return said
    anthropic = "cache_read_input_tokens" in usage or "cache_creation_input_tokens" in usage
    return (_anthropic if anthropic else _openai)(usage, said)


def _openai(usage: Mapping[str, Any], said: Used) -> Used:
    inputs = _object(usage.get("prompt_tokens_details") or usage.get("input_tokens_details"))
    outputs = _object(usage.get("completion_tokens_details") or usage.get("output_tokens_details"))
    return said._replace(
        input_tokens=_number(usage, "prompt_tokens", "input_tokens", otherwise=said.input_tokens),
        cached_input_tokens=_number(inputs, "cached_tokens", otherwise=said.cached_input_tokens),
        output_tokens=_number(usage, "completion_tokens", "output_tokens", otherwise=said.output_tokens),
        reasoning_tokens=_number(outputs, "reasoning_tokens", otherwise=said.reasoning_tokens),
        known=True,
    )


def _anthropic(usage: Mapping[str, Any], said: Used) -> Used:
    """Its `input_tokens` leaves out what the cache was read for and written with."""
    read = _number(usage, "cache_read_input_tokens", otherwise=said.cached_input_tokens)
    written = _number(usage, "cache_creation_input_tokens", otherwise=said.cache_write_tokens)
    fresh = _number(
        usage, "input_tokens", otherwise=said.input_tokens - said.cached_input_tokens - said.cache_write_tokens
    )
    return said._replace(
        input_tokens=fresh + read + written,
        cached_input_tokens=read,
        cache_write_tokens=written,
        output_tokens=_number(usage, "output_tokens", otherwise=said.output_tokens),
        known=True,
    )


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _number(of: Mapping[str, Any], *names: str, otherwise: int) -> int:
    for name in names:
        value = of.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return value
    return otherwise


class Reader:
    """Reads along while an answer goes to the client, in whatever pieces; `used` at the end."""

    def __init__(self, content_type: str) -> None:
        self._stream = "event-stream" in content_type
        self._held = bytearray()
        self._used = Used()
        self._too_long = False
        self.pieces = 0  # of the answer in a stream: about a token each, where no usage is told

    def feed(self, piece: bytes) -> None:
        if not self._too_long:
            self._held += piece
        if self._stream:
            *lines, rest = self._held.split(b"\n")
            self._held = bytearray(rest)
            for line in lines:
                self._line(bytes(line))
        self._too_long = len(self._held) > (_LINE_BYTES if self._stream else _BODY_BYTES)
        if self._too_long:
            self._held.clear()

    def used(self) -> Used:
        """What was said until now; a body is read when all of it is here."""
        if self._held:
            if self._stream:
                self._line(bytes(self._held))
            else:
                self._json(bytes(self._held))
            self._held.clear()
        return self._used

    def _line(self, line: bytes) -> None:
        if not line.startswith(b"data:"):
            return
        self.pieces += any(name in line for name in _PIECES)
        if b'"usage"' in line or not self._used.model:
            self._json(line[5:])

    def _json(self, text: bytes) -> None:
        try:
            read = json.loads(text)
        except (ValueError, RecursionError):
            return  # `data: [DONE]`, or no JSON at all
        if isinstance(read, dict):
            self._used = used_of(read, self._used)
