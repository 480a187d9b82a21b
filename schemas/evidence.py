"""What is kept so that an incident can be told later: legal holds, configuration that was in force, learned state."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import ConfigDict, Field, TypeAdapter

from schemas.records import Record, stable_id


class Hold(Record):
    """A person's word that what is stored of an incident's key must stay, whatever retention says, until released.

    Every version of it is kept; the newest counts.
    """

    type: Literal["hold"] = "hold"
    hold_id: str
    at_ms: int  # wall clock, when this version was said
    by: str = Field(min_length=1)
    reason: str = Field(min_length=1)
    incident_id: str = Field(min_length=1)
    key_id: str = Field(min_length=1)
    from_ms: int  # event time: events of the key from then on, to an hour after the incident's end
    released: bool = False

    @staticmethod
    def id_of(incident_id: str, by: str, reason: str) -> str:
        """Two people, or two matters, hold the same incident apart: each has to release its own."""
        return stable_id("hld", incident_id, by, reason)


class ConfigText(Record):
    """One file of the configuration folder, redacted, kept once for each content. `keys.yaml` comes in parts."""

    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")

    type: Literal["config_text"] = "config_text"
    sha256: str  # of the text
    file: str
    packed: bytes  # the text's JSON, compressed with zlib; empty when even so it is too large for a record


class ConfigInForce(Record):
    """From `at_ms` on, until the next such record of the same role, a worker followed these files."""

    type: Literal["config_in_force"] = "config_in_force"
    at_ms: int  # wall clock
    worker: str  # a name that lasts as long as the process
    roles: tuple[str, ...]
    cause: Literal["start", "reload"]
    version: str  # the same for the same files
    files: dict[str, str]  # name -> sha256 of its text


_CONFIG: Final[TypeAdapter[ConfigText | ConfigInForce]] = TypeAdapter(
    Annotated[ConfigText | ConfigInForce, Field(discriminator="type")]
)


def config_record(data: bytes) -> ConfigText | ConfigInForce:
    """One record of the topic of configurations; pydantic's ValidationError when it is neither."""
    return _CONFIG.validate_json(data)


STATE_EVERY_MS: Final = 3_600_000
"""How often a key's state is written down at most, in event time: what opens an incident is at most so much younger."""


class KeyState(Record):
    """What was learned of one key, as its score stage had it when it first spoke of the key in a while."""

    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")

    type: Literal["key_state"] = "key_state"
    key_id: str
    at_ms: int  # event time of the finding
    finding_id: str
    clock_s: int  # event time up to which the state goes
    state: bytes  # as `detectors/one_key.py` packs it
    cohort: bytes  # what the key shares with others of its environment and provider
