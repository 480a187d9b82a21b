"""What the census has told: the one thing it must not forget, or each restart would tell all of it anew. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

from schemas.records import Finding

DAY_MS: Final = 86_400_000
AGAIN_MS: Final = 30 * DAY_MS
"""What is so still after this long is told again."""

Name = tuple[str, str]
"""detector, key_id."""


class Told:
    """The newest finding of each kind about each key. Whoever holds it stores `unsaved` before it is sent."""

    def __init__(self) -> None:
        self._newest: dict[Name, Finding] = {}
        self._of_day: Counter[tuple[str, int]] = Counter()
        self.unsaved: dict[Name, Finding | None] = {}

    def restore(self, findings: Iterable[Finding]) -> None:
        """What was stored, without what is so old that it counts for nothing."""
        known = list(findings)
        newest_ms = max((finding.at_ms for finding in known), default=0)
        for finding in known:
            if newest_ms - finding.at_ms < AGAIN_MS:
                self._put(finding)

    def of(self, detector: str, key_id: str, at_ms: int) -> Finding | None:
        """What was told of the key in the month before, or of a moment after it."""
        finding = self._newest.get((detector, key_id))
        return finding if finding is not None and at_ms - finding.at_ms < AGAIN_MS else None

    def on(self, detector: str, at_ms: int) -> int:
        """So many keys this was told of, of that day."""
        return self._of_day[detector, at_ms // DAY_MS]

    def add(self, finding: Finding) -> Finding:
        """It is told now."""
        self._put(finding)
        self.unsaved[finding.detector, finding.key_id] = finding
        return finding

    def forget(self, detector: str, key_id: str) -> None:
        """It is so no more: when it comes to be so again, that is news."""
        if self._drop((detector, key_id)):
            self.unsaved[detector, key_id] = None

    def clear(self) -> None:
        """Others go on with these keys, or what was stored is read again."""
        self._newest.clear()
        self._of_day.clear()
        self.unsaved.clear()

    def _put(self, finding: Finding) -> None:
        self._drop((finding.detector, finding.key_id))
        self._newest[finding.detector, finding.key_id] = finding
        self._of_day[finding.detector, finding.at_ms // DAY_MS] += 1

    def _drop(self, name: Name) -> bool:
        before = self._newest.pop(name, None)
        if before is not None:
            self._of_day[before.detector, before.at_ms // DAY_MS] -= 1
        return before is not None
