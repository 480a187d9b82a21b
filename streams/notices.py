"""What the contain stage tells others about a key it acts on: the gates, the detectors, and people."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Final

from containment.ladder import RUNGS
from schemas.records import EVIDENCE, Command, Mark, Outcome, Step, StepState
from schemas.verdict import GateState, GateVerdict
from streams.topics import Topic

if TYPE_CHECKING:
    from streams.contain import ContainDeps

Conclude = Callable[[str, Outcome], Awaitable[None]]
_HOUR_MS: Final = 3_600_000
_MOST_TIMES: Final = 1000.0  # an idle backup takes over all of a busy key's use
_GATE: Final[Mapping[Step, GateState]] = {"throttle": "throttle", "degrade": "degrade"}


class Notices:
    """Each may be told twice; whoever reads it takes the newest."""

    def __init__(self, deps: ContainDeps, conclude: Conclude) -> None:
        self._deps = deps
        self._conclude = conclude

    async def tell_gates(self, command: Command, steps: Iterable[Step], *, use_instead: str = "") -> dict[int, int]:
        """The verdict for the hardest of the steps in effect; `allow` where there is none. Where it was written."""
        held = [step for step in RUNGS if step in set(steps)]
        words = f"stopped by Keyfuse, incident {command.incident_id}: ask team {command.facts.team}"
        verdict = GateVerdict(
            key_id=command.key_id, state=_GATE.get(held[-1], "deny") if held else "allow",
            reason=words if held else "", incident_id=command.incident_id, at_ms=self._deps.now_ms(),
            use_instead=use_instead if held else "",
        )  # fmt: skip
        return await self._deps.outbox.send(Topic.VERDICTS, [(verdict.key_id, verdict)])

    async def expect(self, key_id: str, backup: str, order: str, *, withdrawn: bool = False) -> None:
        """The backup does from now on what the key did: without a word about it, it would look stolen itself."""
        now_ms, settle_ms = self._deps.now_ms(), round(self._deps.responses().backup.settle_h * _HOUR_MS)
        if not settle_ms:
            return
        mark = Mark(
            mark_id=Mark.id_of("", "backup", backup, order), at_ms=now_ms, by="keyfuse", verdict="expected",
            reason=f"it is the backup of {key_id}, whose users were switched to it", key_id=backup,
            families=tuple(EVIDENCE), from_ms=now_ms, until_ms=now_ms + settle_ms, times=_MOST_TIMES,
            withdrawn=withdrawn, withdrawn_by="keyfuse" if withdrawn else "",
            withdrawn_because="its users were switched back" if withdrawn else "",
        )  # fmt: skip
        await self._deps.outbox.send(Topic.MARKS, [(mark.mark_id, mark)])

    async def tell_people(
        self, command: Command, state: StepState, words: str, *, seconds: float | None = None
    ) -> None:
        """The switch as a step of its own on the incident; one that failed pages people."""
        outcome = Outcome(
            command_id=Command.id_of(command.incident_id, command.key_id, "switch"), incident_id=command.incident_id,
            key_id=command.key_id, step="switch", state=state, at_ms=self._deps.now_ms(), detail=words,
            seconds_to_effective=seconds,
        )  # fmt: skip
        await self._conclude(f"{command.command_id}@{command.at_ms}/switch", outcome)
