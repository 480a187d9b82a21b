"""The fake that ships: a place in memory, with faults on order. Same protocol, same test suite."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Final

from containment.providers.base import Effect
from containment.providers.errors import Reason, Refused
from containment.switches.base import Turn

KIND: Final = "memory"


class MemorySwitch:
    """Secrets in a dict: path -> what it holds. Older versions are kept, as such stores do."""

    def __init__(self, name: str, secrets: dict[str, str]) -> None:
        self.name = name
        self.secrets = secrets
        self._versions = {path: [value] for path, value in secrets.items()}
        self.faults: deque[BaseException | None] = deque()
        """What the next calls raise; None lets one pass."""
        self.calls: list[str] = []

    async def snapshot(self, turn: Turn) -> dict[str, str]:
        self._begin("snapshot", turn)
        if self._versions[turn.secret][-1] != self.secrets[turn.secret]:
            self._versions[turn.secret].append(self.secrets[turn.secret])  # written by somebody else
        return {"version": str(len(self._versions[turn.secret]) - 1)}

    async def apply(self, turn: Turn) -> str:
        self._begin("apply", turn)
        self._write(turn.secret, self.secrets[turn.standby])
        return "written"

    async def in_effect(self, turn: Turn) -> Effect:
        self._begin("in_effect", turn)
        held = self.secrets[turn.secret] == self.secrets[turn.standby]
        return Effect("yes" if held else "no", f"{turn.secret} is {'' if held else 'not '}the backup's")

    async def undo(self, turn: Turn, pre_state: Mapping[str, str]) -> str:
        self._begin("undo", turn)
        self._write(turn.secret, self._versions[turn.secret][int(pre_state["version"])])
        return "written back"

    async def close(self) -> None:
        self.faults.clear()

    def _write(self, path: str, value: str) -> None:
        self.secrets[path] = value
        self._versions[path].append(value)

    def _begin(self, call: str, turn: Turn) -> None:
        self.calls.append(call)
        fault = self.faults.popleft() if self.faults else None
        if fault is not None:
            raise fault
        if turn.secret not in self.secrets or turn.standby not in self.secrets:
            raise Refused(Reason.UNKNOWN_KEY, f"{call} {turn.words}: there is no such secret")
