"""What was learned of a key, written down when the score stage first speaks of it in a while.

Later checkpoints overwrite the state, and with it what a judgement rested on. The score stage does not know of
incidents, but what opens one is a finding: so each key that is spoken of is written down, once an hour at most.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from detectors.core import ScoreCore
from schemas.evidence import STATE_EVERY_MS, KeyState
from schemas.records import Finding
from streams.outbox import Outbox
from streams.topics import Topic

_REMEMBERED: Final = 100_000  # keys; when there are more, some are written down once too often


class KeyStates:
    """Of one worker."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._last_ms: dict[str, int] = {}

    async def tell(self, core: ScoreCore, findings: Sequence[Finding]) -> None:
        """While the findings of one frame or tick are told, which are in the order of their time."""
        new: dict[str, Finding] = {}
        for finding in findings:
            if finding.at_ms - self._last_ms.get(finding.key_id, -STATE_EVERY_MS) >= STATE_EVERY_MS:
                new.setdefault(finding.key_id, finding)
        if not new:
            return
        if len(self._last_ms) + len(new) > _REMEMBERED:
            self._last_ms.clear()
        records = [
            (key_id, KeyState(
                key_id=key_id, at_ms=finding.at_ms, finding_id=finding.finding_id, clock_s=core.clock_s, state=state,
                cohort=cohort,
            ))
            for (key_id, finding), (state, cohort) in zip(new.items(), core.evidence(list(new)), strict=True)
        ]  # fmt: skip
        await self._outbox.send(Topic.KEY_STATES, records)
        self._last_ms |= {key_id: finding.at_ms for key_id, finding in new.items()}
