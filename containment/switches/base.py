"""What every place can do where an application's credential is chosen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from containment.providers.base import Effect


class Turn(NamedTuple):
    """One switch at one place: whose users, to what, and where it is written."""

    key_id: str
    backup: str  # key_id of the backup
    secret: str  # where its users read their credential, as `keys.yaml` says it
    standby: str  # where the backup's value lies ready

    @property
    def words(self) -> str:
        """For people and the audit; it names places, never a value."""
        if not self.secret:
            return self.key_id
        return f"{self.secret} from {self.standby}"


class Switch(Protocol):
    """One system that tells users which credential to use. Methods may raise `ProviderError` and nothing else.

    As with providers each call is made once, and what it answers to a change is not believed.
    """

    @property
    def name(self) -> str:
        """As `keys.yaml` calls it."""

    async def snapshot(self, turn: Turn) -> dict[str, str]:
        """How the place stands now, for undo. Never a value. Raises Refused when it, or the standby, is not there."""

    async def apply(self, turn: Turn) -> str:
        """Tell the users to go on with the backup; returns what was done. Twice is the same as once."""

    async def in_effect(self, turn: Turn) -> Effect:
        """Whether the place says the backup now."""

    async def undo(self, turn: Turn, pre_state: Mapping[str, str]) -> str:
        """Put back what `snapshot` saw, and only that part. Asked only while the place says the backup."""

    async def close(self) -> None:
        """Give back connections."""
