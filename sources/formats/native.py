"""Keyfuse's own event: taken as it is.

`input_tokens` INCLUDES `cached_input_tokens` and `cache_write_tokens`, and `output_tokens` includes
`reasoning_tokens`, as OpenAI and LiteLLM count them. A producer that reads Anthropic's own usage object adds
`cache_read_input_tokens` and `cache_creation_input_tokens` to `input_tokens` first.
"""

from __future__ import annotations

from typing import Any, Final

NAME: Final = "native"


def recognises(doc: dict[str, Any]) -> bool:
    """One of the two names is enough, so that a bad field is named rather than the shape called unknown."""
    return "event_id" in doc or "ts" in doc


def parse(doc: dict[str, Any]) -> dict[str, Any]:
    return doc
