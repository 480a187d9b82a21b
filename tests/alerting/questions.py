"""Questions for tests."""

from __future__ import annotations

from typing import Any

from schemas.question import Choice, Question
from tests.alerting.world import T0_MS

CHOICES = (
    Choice(name="keep", label="Still needed", style="primary"), Choice(name="drop", label="Disable it", style="danger"),
)  # fmt: skip


def question(**changes: Any) -> Question:
    """One that waits for ada."""
    fields: dict[str, Any] = {
        "question_id": "rev:key-1:1", "kind": "revalidation", "about": "key-1", "asked_at_ms": T0_MS, "to": ("ada",),
        "team": "search", "title": "Is key-1 still needed?", "lines": {"Key": "key-1", "After 14 days": "throttled"},
        "choices": CHOICES, "deadline_ms": T0_MS + 21 * 86_400_000,
    }  # fmt: skip
    return Question.model_validate(fields | changes)
