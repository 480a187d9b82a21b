"""The learned state in an archive: as it was at the first sign, and as the broker has it now."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from detectors import codec
from detectors.core import ScoreCore
from detectors.placement import NEW, Placement
from schemas.evidence import KeyState
from schemas.partition import partition_of
from service.config_tree import Folder
from service.evidence_state import Live, live_state, state_members, state_notes, state_words
from service.install import Install
from service.warm_up import State, states_of
from streams.kafka import create_topics
from streams.topics import StateTopic
from streams.warm_state import changelog_of, write_state
from tests.brokers import Broker
from tests.integration.world import kafka_config
from tests.service.evidence import KEY, STATE
from tests.storage.frames import T0, Use, frame


def install(broker: Broker, prefix: str, directory: Path) -> Install:
    wiring = Folder().wiring.model_copy(update={"kafka": kafka_config(broker, prefix), "data_dir": str(directory)})
    return Install(Folder(wiring=wiring), directory, environ={})


def checkpoint(one: Install, placement: Placement = NEW) -> list[State]:
    core = ScoreCore(
        one.folder.detectors, partition=partition_of(KEY, one.topics.partitions), shards=one.folder.wiring.state.shards
    )
    core.book.place_as(placement)
    core.process(frame([Use(f"e{nth}", nth, ts_ms=T0 + nth * 1000) for nth in range(20)]))
    return list(states_of(core))


async def written(broker: Broker, one: Install, states: list[State]) -> None:
    await create_topics(broker.bootstrap, one.topics.specs())
    async with changelog_of(broker.bootstrap, one.topics.state_name(StateTopic.SCORE)) as changelog:
        await write_state(changelog, states)


@pytest.mark.parametrize("placement", Placement)
async def test_the_newest_checkpoint_is_read_for_one_key(
    tansu_broker: Broker, prefix: str, tmp_path: Path, placement: Placement
) -> None:
    one = install(tansu_broker, prefix, tmp_path)
    await written(tansu_broker, one, checkpoint(one, placement))
    live = await asyncio.to_thread(live_state, one, KEY)
    told = state_words(None, live)
    assert (live.why_not, told["first_sign"]) == ("", None)
    assert (told["now"]["as_of"], told["now"]["key"]["key_id"]) == ("2026-11-23T10:00:19.000Z", KEY)
    assert told["now"]["cohort"]["provider"] == "openai"
    assert set(state_members(None, live)) == {"state/now.kfs", "state/now.cohort.kfs"}
    stranger = await asyncio.to_thread(live_state, one, "fp1:stranger")
    assert stranger.why_not == "no checkpoint has this key yet"


async def test_bytes_of_another_version_are_told(tansu_broker: Broker, prefix: str, tmp_path: Path) -> None:
    one = install(tansu_broker, prefix, tmp_path)
    old = [State(state.partition, state.name, b"KFS0" + state.value[4:]) for state in checkpoint(one)]
    await written(tansu_broker, one, old)
    live = await asyncio.to_thread(live_state, one, KEY)
    assert "it cannot be read: not a state of this version" in live.why_not


def test_nothing_that_runs_is_told(tmp_path: Path) -> None:
    one = Install(Folder(wiring=Folder().wiring.model_copy(update={"data_dir": str(tmp_path)})), tmp_path, environ={})
    live = live_state(one, KEY)
    assert "nothing runs in" in live.why_not
    [note] = state_notes(STATE, live)
    assert note.startswith("What is learned of the key now is not in here: nothing runs in")


def test_what_was_learned_at_the_first_sign() -> None:
    told = state_words(STATE, Live(why_not="x"))
    assert told["first_sign"]["finding_id"] == STATE.finding_id
    assert told["first_sign"]["key"]["key"]["key_requests"] == 8  # those of the open second are not judged yet
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert state_members(STATE, Live())["state/first_sign.kfs"] == STATE.state


def test_a_first_sign_that_nobody_wrote_down_is_noted() -> None:
    notes = state_notes(None, Live(why_not="the broker did not give it"))
    assert [note.partition(" is not in here")[0] for note in notes] == [
        "What was learned of the key at the first sign", "What is learned of the key now",
    ]  # fmt: skip
    assert state_words(None, Live()) == {"first_sign": None, "now": None}


@pytest.mark.parametrize("broken", [b"", b"KFS0" + bytes(30), codec.encode({}, {})[:14]])
def test_bytes_that_nobody_can_read_stay_bytes(broken: bytes) -> None:
    spoilt: KeyState = STATE.model_copy(update={"state": broken})
    told = state_words(spoilt, Live())
    assert "the Keyfuse that wrote it reads it" in told["first_sign"]["unreadable"]
