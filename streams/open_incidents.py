"""Which keys have an open incident: nobody is sent on to one of these."""

from __future__ import annotations

from pydantic import ValidationError

from schemas.records import CLOSED, Incident


class OpenIncidents:
    """The newest version of each key's incident decides. Holds the open ones alone.

    A key's incidents are in one partition, in their order; what is older than the topic's retention is not known.
    """

    def __init__(self) -> None:
        self._open: set[str] = set()

    def take(self, key: bytes | None, value: bytes | None) -> bool:
        """One record of the topic; True when it changed something. What is no incident is the archive's to bury."""
        try:
            incident = Incident.from_bytes(value or b"")
        except ValidationError:
            return False
        before = incident.key_id in self._open
        (self._open.discard if incident.state in CLOSED else self._open.add)(incident.key_id)
        return before != (incident.key_id in self._open)

    def has(self, key_id: str) -> bool:
        return key_id in self._open
