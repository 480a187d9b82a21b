"""What a gate answers for a key: the newest record of the key on `keyfuse.verdicts`; a key without one passes."""

from __future__ import annotations

from typing import Final, Literal, get_args

from schemas.records import Record

GateState = Literal["allow", "throttle", "degrade", "deny"]
HARDNESS: Final[tuple[GateState, ...]] = get_args(GateState)


class GateVerdict(Record):
    """The answer for one key until the next record says otherwise. A `deny` never ends by silence."""

    type: Literal["verdict"] = "verdict"
    key_id: str
    state: GateState
    reason: str  # in words, for whoever is refused
    incident_id: str
    at_ms: int  # wall clock of the contain stage
    source: Literal["incident", "provider"] = "incident"  # whose it is: each takes back its own, the harder one holds
    use_instead: str = ""  # key_id of the backup that its users go on with; empty: there is none
