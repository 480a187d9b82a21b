"""What the composition root hands to the stages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from schemas.records import KeyFacts
from streams.metrics import Metrics
from streams.topics import Topics


@dataclass(frozen=True)
class StreamDeps:
    """Common to all stages."""

    bootstrap: str
    topics: Topics
    metrics: Metrics
    now_ms: Callable[[], int]
    facts_of: Callable[[str], KeyFacts | None] = field(default=lambda _key: None)
