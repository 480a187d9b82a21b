"""What was learned of a key is written down when it is first spoken of, and then once an hour at most."""

from __future__ import annotations

import pytest

from detectors.core import ScoreCore
from detectors.one_key import readable
from schemas.evidence import KeyState
from schemas.records import Finding
from streams.key_states import KeyStates
from streams.topics import Topic
from tests.detectors.history import history, new_core
from tests.streams.world import MemoryOutbox, finding


@pytest.fixture(scope="module")
def core() -> ScoreCore:
    made = new_core()
    made.process(history(3))
    return made


def at(second: int, key_id: str = "k1") -> Finding:
    return finding(second, key_id=key_id)


async def test_the_first_word_on_each_key_brings_its_state(core: ScoreCore) -> None:
    outbox = MemoryOutbox()
    await KeyStates(outbox).tell(core, [at(0), at(0, "k2"), at(1), at(2, "k2")])
    states = [record for record in outbox.of(Topic.KEY_STATES) if isinstance(record, KeyState)]
    assert [(state.key_id, state.finding_id) for state in states] == [
        ("k1", at(0).finding_id), ("k2", at(0, "k2").finding_id),
    ]  # fmt: skip
    assert [readable(state.state)["key_id"] for state in states] == ["k1", "k2"]
    assert readable(states[0].cohort)["provider"] == "openai"
    assert states[0].clock_s == core.clock_s
    assert KeyState.from_bytes(states[0].to_bytes()) == states[0]


async def test_once_an_hour_at_most(core: ScoreCore) -> None:
    outbox = MemoryOutbox()
    states = KeyStates(outbox)
    for second in (0, 1, 3599, 3600, 3601, 7199, 7200):
        await states.tell(core, [at(second)])
    told = [record.at_ms for record in outbox.of(Topic.KEY_STATES) if isinstance(record, KeyState)]
    assert told == [at(second).at_ms for second in (0, 3600, 7200)]


async def test_no_findings_no_states(core: ScoreCore) -> None:
    outbox = MemoryOutbox()
    await KeyStates(outbox).tell(core, [])
    assert outbox.of(Topic.KEY_STATES) == []
