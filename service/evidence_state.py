"""What was learned of the key: as it was at the first sign, from the store, and as it stands now, from the broker."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Final

from aiokafka.errors import KafkaError

from detectors.one_key import cohort_of, facts_in, of_shard, readable
from detectors.placement import shard_of
from detectors.snapshots import placement_of
from schemas.evidence import KeyState
from schemas.partition import partition_of
from schemas.records import rfc3339
from service.errors import UserError
from service.install import Install
from service.request_commands import bootstrap_of
from streams.errors import BrokerDown
from streams.kafka import wait_for_broker
from streams.topics import StateTopic
from streams.warm_state import changelog_of

_PATIENCE_S: Final = 30.0
_FIRST: Final = "state/first_sign"
_NOW: Final = "state/now"


@dataclass(frozen=True)
class Live:
    """The state in the newest checkpoint, packed; with none, `why_not` says why."""

    state: bytes = b""
    cohort: bytes = b""
    why_not: str = ""


def live_state(install: Install, key_id: str) -> Live:
    """Asked of the broker; an archive without it is still one."""
    try:
        return asyncio.run(_read(install, bootstrap_of(install), key_id))
    except UserError as error:
        return Live(why_not=str(error))
    except (BrokerDown, KafkaError, TimeoutError) as error:
        return Live(why_not=f"the broker did not give it: {str(error) or 'it took too long'}")
    except ValueError as error:
        return Live(why_not=f"it cannot be read: {error}")


async def _read(install: Install, bootstrap: str, key_id: str) -> Live:
    topics = install.topics
    partition = partition_of(key_id, topics.partitions)
    await wait_for_broker(bootstrap, timeout_s=5)
    async with asyncio.timeout(_PATIENCE_S), changelog_of(bootstrap, topics.state_name(StateTopic.SCORE)) as changelog:
        await changelog.load(partition)
        cohorts = changelog.get(f"{partition}:cohorts".encode())
        data = None
        if cohorts is not None:  # they are written before any shard
            shard = shard_of(key_id, install.folder.wiring.state.shards, placement_of(cohorts))
            data = changelog.get(f"{partition}:{shard}".encode())
    state = of_shard(data, key_id) if data is not None else None
    if state is None or cohorts is None:
        return Live(why_not="no checkpoint has this key yet")
    return Live(state, cohort_of(cohorts, facts_in(state)))


def state_members(first: KeyState | None, live: Live) -> dict[str, bytes]:
    """The packed bytes, as files; none where nothing is known."""
    files = {
        f"{_FIRST}.kfs": first.state if first else b"", f"{_FIRST}.cohort.kfs": first.cohort if first else b"",
        f"{_NOW}.kfs": live.state, f"{_NOW}.cohort.kfs": live.cohort,
    }  # fmt: skip
    return {name: data for name, data in files.items() if data}


def state_words(first: KeyState | None, live: Live) -> dict[str, Any]:
    """The same for people to read."""
    told: dict[str, Any] = {"first_sign": None, "now": None}
    if first is not None:
        about = {"finding_at": rfc3339(first.at_ms), "finding_id": first.finding_id}
        told["first_sign"] = {**about, **_told(first.state, first.cohort)}
    if live.state:
        told["now"] = _told(live.state, live.cohort)
    return told


def state_notes(first: KeyState | None, live: Live) -> list[str]:
    """What of it is not in the archive."""
    notes = []
    if first is None:
        notes.append(
            "What was learned of the key at the first sign is not in here: none was written down within the hour "
            "before. `keyfuse explain KEY --at TIME` plays it again from the stored events."
        )
    if live.why_not:
        notes.append(f"What is learned of the key now is not in here: {live.why_not}.")
    return notes


def _told(state: bytes, cohort: bytes) -> dict[str, Any]:
    """A state of another version stays bytes."""
    try:
        key = readable(state)
        shared = readable(cohort) if cohort else None
    except ValueError as error:
        return {"unreadable": f"{error}; the Keyfuse that wrote it reads it"}
    return {"as_of": rfc3339(int(key["clock_s"]) * 1000), "key": key, "cohort": shared}
