"""What a warm-up has learned, restored as a worker restores it: nothing live is skipped, nothing counts as told."""

from __future__ import annotations

from pathlib import Path

import pytest
import structlog

from detectors.core import ScoreCore
from schemas.config import DetectorsConfig, WiringConfig
from schemas.config.wiring import StateConfig
from schemas.frame import encode_frame
from schemas.records import Finding
from service.config_tree import Folder
from service.install import Install
from service.play import new_core
from service.warm_up import THIN_WINDOWS, Learned, State, is_readable, learn
from service.warm_up_file import begin_warm, load, path_of, save
from streams.acks import Arrived
from streams.changelog import Changelog
from streams.health import StageProgress
from streams.kafka import producer
from streams.metrics import Metrics
from streams.score import ScoreStage
from streams.topics import StateTopic, Topic, Topics
from tests.brokers import Broker
from tests.detectors.build import frame
from tests.detectors.traffic import theft
from tests.integration.world import kafka_config
from tests.service.past import STOLEN, THEFT_S, as_frame, events
from tests.streams.world import MemoryOutbox, MemoryShards

PAST = [event for event in events(keys=4, stolen=False) if event["ts_s"] < THEFT_S]
LAST_MS = int(PAST[-1]["ts_s"] * 1000)
FOLDER = Folder(
    wiring=WiringConfig.model_validate({"kafka": {"partitions": 2}, "state": {"shards": 4}}),
    detectors=DetectorsConfig.model_validate({"limits": {"enabled": False}}),
)


def learned(past: list[dict[str, object]] | None = None) -> Learned:
    rows = as_frame(past or PAST)
    frames = [rows.slice(start, 300) for start in range(0, rows.num_rows, 300)]
    return learn(FOLDER, frames, last_ms=int(rows["ts_ms"].to_numpy()[-1]))


LEARNED = learned()


def stage(states: list[State]) -> tuple[ScoreStage, MemoryOutbox]:
    """A worker that starts with these states."""
    store, outbox = MemoryShards(), MemoryOutbox()
    store.values = {f"{state.partition}:{state.name}".encode(): state.value for state in states}
    made = ScoreStage(
        new_core=lambda partition: new_core(FOLDER, partition), store=store, outbox=outbox, topics=Topics(partitions=2),
        metrics=Metrics(), progress=StageProgress("score", 0), settings=StateConfig(shards=4, rotation_s=4),
    )  # fmt: skip
    return made, outbox


async def live(states: list[State], rows: list[dict[str, object]]) -> list[Finding]:
    """What the worker says of frames that begin at the topic's first offset."""
    made, outbox = stage(states)
    for partition in range(2):
        mine = encode_frame(frame([{**row, "at": number} for number, row in enumerate(rows)]))
        await made.on_frame(Arrived("frames", partition, 0, mine, lambda: None), now_s=0, now_ms=0)
    return [record for record in outbox.of(Topic.FINDINGS) if isinstance(record, Finding)]


def burst() -> list[dict[str, object]]:
    return [*theft(2, THEFT_S, seconds=40), {"ts_s": THEFT_S + 60.0, "key_id": "k00", "cost_usd": 0.0}]


async def test_a_worker_that_was_warmed_up_finds_a_theft_at_its_first_frame() -> None:
    told = await live(LEARNED.states, burst())

    assert {f.key_id for f in told} == {STOLEN}
    assert {"velocity", "origin", "mix"} <= {f.family for f in told}
    assert min(f.at_ms for f in told) < (THEFT_S + 20) * 1000
    assert "velocity" not in {f.family for f in await live([], burst()) if f.at_ms < (THEFT_S + 20) * 1000}


async def test_no_live_row_is_skipped_whatever_its_coordinates() -> None:
    made, _ = stage(LEARNED.states)
    rows = [{"ts_s": THEFT_S + n, "key_id": "k01", "cost_usd": 0.001, "at": n, "raw_partition": 7} for n in range(20)]
    for partition in range(2):
        await made.on_frame(Arrived("f", partition, 0, encode_frame(frame(rows)), lambda: None), now_s=0, now_ms=0)

    seen = [core.windows("k01") for core in made.cores()]
    assert all(found and found["requests_1m"] == 20 for found in seen)


def test_the_state_covers_nothing_and_stands_at_the_end_of_the_history() -> None:
    for core in restored(LEARNED):
        assert (core.covered == -1).all()
        assert core.clock_s == LEARNED.clock_s == LAST_MS // 1000 + 1
    assert sum(core.known_keys for core in restored(LEARNED)) == LEARNED.keys == 4


def restored(found: Learned) -> list[ScoreCore]:
    cores = []
    for partition in range(2):
        values = {name: value for place, name, value in found.states if place == partition}
        core = new_core(FOLDER, partition)
        core.import_cohorts(values["cohorts"])
        for shard in range(4):
            core.import_shard(shard, values[str(shard)])
        core.clock_s = int(values["clock"])
        cores.append(core)
    return cores


async def test_what_was_found_in_the_history_does_not_keep_live_findings_quiet() -> None:
    attacked = learned(sorted([*PAST, *theft(2, THEFT_S - 30, seconds=28)], key=lambda e: float(e["ts_s"])))  # type: ignore[arg-type]
    assert attacked.suspicious[STOLEN] > 0

    assert {f.key_id for f in await live(attacked.states, burst())} >= {STOLEN}


def test_it_says_how_much_was_learned_and_what_calibration_rests_on() -> None:
    [cohort] = LEARNED.cohorts
    assert (cohort.env, cohort.provider, cohort.keys) == ("prod", "openai", 4)
    assert cohort.thin
    assert max(cohort.windows.values()) < THIN_WINDOWS
    assert LEARNED.windows == sum(
        int(core.table.columns["key_windows"][: core.known_keys].sum()) for core in restored(LEARNED)
    )
    assert LEARNED.windows > 40
    assert LEARNED.suspicious == {}


def test_a_file_gives_back_what_was_saved(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "warm-up.zip"

    save(path, LEARNED.states)

    assert load(path) == LEARNED.states
    assert is_readable(FOLDER, load(path))
    assert [each.name for each in path.parent.iterdir()] == ["warm-up.zip"]


@pytest.mark.parametrize("content", [None, b"", b"no zip file", b"PK\x03\x04 broken"])
def test_a_file_that_is_none_is_no_state(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "warm-up.zip"
    if content is not None:
        path.write_bytes(content)

    assert load(path) == []


def test_state_of_another_layout_or_version_is_not_taken() -> None:
    other = [state._replace(value=b"KFS0" + state.value[4:]) for state in LEARNED.states if state.name == "cohorts"]
    rest = [state for state in LEARNED.states if state.name != "cohorts"]
    fewer = [state for state in LEARNED.states if state.partition == 0]
    wider = Folder(wiring=WiringConfig.model_validate({"kafka": {"partitions": 2}, "state": {"shards": 8}}))

    assert is_readable(FOLDER, LEARNED.states)
    assert not is_readable(FOLDER, other + rest)
    assert not is_readable(FOLDER, fewer)
    assert not is_readable(wider, LEARNED.states)


async def test_up_begins_with_the_file_once(tansu_broker: Broker, prefix: str, tmp_path: Path) -> None:
    one = install(tansu_broker, prefix, tmp_path)
    save(path_of(one), LEARNED.states)

    with structlog.testing.capture_logs() as logs:
        await begin_warm(one, tansu_broker.bootstrap)
        await begin_warm(one, tansu_broker.bootstrap)

    assert [log["event"] for log in logs] == ["began with what the warm-up learned"]
    sender = producer(tansu_broker.bootstrap)
    await sender.start()
    changelog = Changelog(tansu_broker.bootstrap, one.topics.state_name(StateTopic.SCORE), sender)
    await changelog.load(1)
    await sender.stop()
    assert changelog.get(b"1:clock") == str(LEARNED.clock_s).encode()


@pytest.mark.parametrize("broken", [False, True])
async def test_up_begins_without_a_file_that_does_not_fit_and_says_so(
    tansu_broker: Broker, prefix: str, tmp_path: Path, *, broken: bool
) -> None:
    one = install(tansu_broker, prefix, tmp_path)
    save(path_of(one), [state for state in LEARNED.states if state.partition == 0])
    if broken:
        path_of(one).write_bytes(path_of(one).read_bytes()[:-100])

    with structlog.testing.capture_logs() as logs:
        await begin_warm(one, tansu_broker.bootstrap)

    assert "`keyfuse warm-up --replace`" in logs[0]["event"]


async def test_up_without_a_warm_up_says_nothing_of_it(tmp_path: Path) -> None:
    one = Install(Folder(wiring=FOLDER.wiring.model_copy(update={"data_dir": str(tmp_path)})), tmp_path, {})

    with structlog.testing.capture_logs() as logs:
        await begin_warm(one, "nobody:1")

    assert logs == []


def install(broker: Broker, prefix: str, directory: Path) -> Install:
    wiring = FOLDER.wiring.model_copy(update={"data_dir": str(directory), "kafka": kafka_config(broker, prefix)})
    return Install(Folder(wiring=wiring, detectors=FOLDER.detectors), directory, {})
