"""One key's learned state by itself: the same from a live core and from its checkpoint, and readable."""

from __future__ import annotations

import json

import pytest

from detectors import rings
from detectors.core import ScoreCore
from detectors.fold import FIELDS
from detectors.one_key import cohort_of, facts_in, of_shard, pack_cohort, pack_key, readable
from detectors.placement import shard_of
from tests.detectors.history import history, new_core

KEY = "k1"


@pytest.fixture(scope="module")
def core() -> ScoreCore:
    made = new_core()
    made.process(history(3))
    return made


def test_a_checkpoint_tells_the_same_of_a_key_as_the_core(core: ScoreCore) -> None:
    shard = core.export_shard(shard_of(KEY, core.shards))
    told = of_shard(shard, KEY)
    assert told is not None
    assert readable(pack_key(core, KEY)) == readable(told)


def test_what_the_key_shares_is_the_same_too(core: ScoreCore) -> None:
    facts = core.book.facts[core.book.slot_of[KEY]]
    assert cohort_of(core.export_cohorts(), facts) == pack_cohort(*core.population.export(), facts)
    told = readable(cohort_of(core.export_cohorts(), facts))
    assert (told["env"], told["provider"], told["own"]) == (facts.env, facts.provider, True)
    stranger = facts.model_copy(update={"env": "elsewhere"})
    assert readable(cohort_of(core.export_cohorts(), stranger))["own"] is False


def test_every_field_of_every_detector_is_told_under_its_name(core: ScoreCore) -> None:
    told = readable(pack_key(core, KEY))
    names = {name for group in told.values() if isinstance(group, dict) for name in group}
    assert (set(FIELDS) - set(rings.FIELDS)) | set(rings.STORED) <= names
    assert told["key_id"] == KEY
    assert told["key"]["key_requests"] > 0
    assert told["models"]
    assert json.loads(json.dumps(told, allow_nan=False)) == told


def test_whose_key_it_is_can_be_read(core: ScoreCore) -> None:
    assert facts_in(pack_key(core, KEY)) == core.book.facts[core.book.slot_of[KEY]]


def test_another_key_and_other_bytes_are_told_apart(core: ScoreCore) -> None:
    assert of_shard(core.export_shard(shard_of(KEY, core.shards)), "nobody") is None
    with pytest.raises(KeyError):
        pack_key(core, "nobody")
    for broken in (b"", b"KFS0" + bytes(20), pack_key(core, KEY)[:40]):
        with pytest.raises(ValueError, match="state"):
            readable(broken)


def test_it_is_small(core: ScoreCore) -> None:
    assert len(pack_key(core, KEY)) < 4096


def test_packing_changes_nothing(core: ScoreCore) -> None:
    before = core.export_shard(shard_of(KEY, core.shards))
    pack_key(core, KEY)
    assert core.export_shard(shard_of(KEY, core.shards)) == before
