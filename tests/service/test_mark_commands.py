"""`mark`, `marks` and `unmark` against a broker and a store, as a person uses them."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from schemas.records import Incident, KeyFacts, Mark, rfc3339
from service import mark_commands
from service.errors import UserError
from service.history import open_history
from service.install import Install, wall_ms
from service.mark_commands import Said
from service.mark_words import minute
from storage.archiving import resume, write
from storage.client import open_store
from storage.migrate import migrate
from storage.rows import record_row
from storage.testing import fresh_dsn
from streams.kafka import create_topics
from streams.marks import read_marks
from streams.topics import Topic
from tests.brokers import Broker
from tests.marks import DAY_MS, NOW_MS, false_positive
from tests.service.folder import FolderWith
from tests.service.past import as_file

KEYS = "keys: [{key_id: key-1, provider: openai, env: prod}, {key_id: key-2, provider: openai, env: prod}]\n"
FACTS = KeyFacts(provider="openai", env="prod")
Run = Callable[..., str]


def incident(incident_id: str, key_id: str, opened_at_ms: int, **given: Any) -> Incident:
    plain = {
        "incident_id": incident_id, "seq": 1, "key_id": key_id, "state": "open", "severity": "warning",
        "families": ["velocity", "origin"], "headline": "h", "opened_at_ms": opened_at_ms,
        "updated_at_ms": opened_at_ms, "last_finding_at_ms": opened_at_ms + 60_000, "findings": 2, "usd_per_min": 1.0,
        "expected_usd_per_min": 0.1, "lost_usd": 1.0, "acceptable_loss_usd": 10.0, "mode": "observe",
        "facts": FACTS.model_dump(), "transition": "t",
    }  # fmt: skip
    return Incident.model_validate(plain | given)


INCIDENTS = [
    incident("inc_old", "key-1", NOW_MS - DAY_MS, state="resolved"),
    incident("inc_new", "key-1", NOW_MS, state="resolved"),
    incident("inc_open", "key-2", NOW_MS),
    incident("manual:1", "key-2", NOW_MS - DAY_MS, families=[]),
]


@pytest.fixture(scope="module")
def dsn() -> str:
    """A store with the incidents of two keys."""
    dsn = fresh_dsn()
    store = open_store(dsn)
    migrate(store, retention_days=36_500)
    for each in INCIDENTS:
        table, row = record_row(each)
        store.insert_records(table, [row])
    store.close()
    return dsn


@pytest.fixture
def config(folder_with: FolderWith, dsn: str) -> Path:
    """Two registered keys and no broker."""
    return folder_with(keys=KEYS, keyfuse=f"store: {{dsn: '{dsn}'}}\n")


@pytest.fixture
def run(config: Path, tansu_broker: Broker, prefix: str) -> Run:
    """Runs a command; returns what it printed."""
    wiring = (config / "keyfuse.yaml").read_text()
    kafka = f"kafka: {{bootstrap: '{tansu_broker.bootstrap}', topic_prefix: {prefix}}}\n"
    (config / "keyfuse.yaml").write_text(wiring + kafka)
    asyncio.run(create_topics(tansu_broker.bootstrap, Install.open(config).topics.specs()))

    def command(function: Callable[..., None], *arguments: Any, **options: Any) -> str:
        said = io.StringIO()
        function(config, *arguments, **options, out=Console(file=said, width=300))
        return said.getvalue()

    return command


def known(config: Path) -> list[Mark]:
    install = Install.open(config)
    bootstrap = install.folder.wiring.kafka.bootstrap
    return asyncio.run(read_marks(bootstrap, install.topics.name(Topic.MARKS), install.topics.count(Topic.MARKS)))


def test_an_incident_is_called_false_and_the_mark_is_listed_and_taken_back(run: Run, config: Path) -> None:
    said = run(mark_commands.mark, Said("inc_new", "false-positive", "our [batch]", "ann"))
    [mark] = known(config)
    assert (mark.verdict, mark.key_id, mark.incident_id, mark.by) == ("false_positive", "key-1", "inc_new", "ann")
    assert (mark.families, mark.from_ms, mark.until_ms) == (("velocity", "origin"), NOW_MS, NOW_MS + 60_000)
    assert f"marked key-1 of incident inc_new (2026-11-23 10:00 UTC) as false-positive: {mark.mark_id}" in said
    assert "velocity, origin: threshold 0.5 higher" in said
    listed = run(mark_commands.marks, everything=False)
    assert mark.mark_id in listed
    assert "our [batch]" in listed

    assert "counts for nothing" in run(mark_commands.unmark, mark.mark_id, reason="a theft after all", by="bo")
    [gone] = known(config)
    assert (gone.withdrawn, gone.withdrawn_by, gone.by) == (True, "bo", "ann")
    assert run(mark_commands.marks, everything=False).startswith("no mark changes anything now\n\n1 more")
    assert "none: withdrawn by bo: a theft after all" in run(mark_commands.marks, everything=True)
    with pytest.raises(UserError, match="withdrawn by bo already"):
        run(mark_commands.unmark, mark.mark_id, reason="again", by="bo")
    with pytest.raises(UserError, match="no mark mrk_0"):
        run(mark_commands.unmark, "mrk_0", reason="again", by="bo")


def test_an_incident_has_one_verdict_the_newest(run: Run, config: Path) -> None:
    run(mark_commands.mark, Said("inc_new", "false-positive", "our batch", "ann"))
    run(mark_commands.mark, Said("key-1", "true", "no, stolen", "bo"))
    [mark] = known(config)
    assert (mark.verdict, mark.incident_id) == ("true", "inc_new")


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (Said("key-1", "true", "r", "ann"), {"incident_id": "inc_new", "families": ()}),
        (Said("key-1", "false-positive", "r", "ann", families=("mix",)), {"families": ("mix",)}),
        (Said("key-1", "false-positive", "r", "ann", for_good=True), {"for_good": True}),
        (Said("key-1", "expected", "r", "ann", until="4h"), {"incident_id": "", "times": 10.0, "families": ()}),
        (Said("key-2", "expected", "r", "ann", until="4h", times=3), {"incident_id": "inc_open", "times": 3.0}),
        (Said("prod/openai", "false-positive", "r", "ann", scope="cohort"), {"scope": "cohort", "families": ()}),
    ],
)
def test_a_mark_of_a_key_means_its_newest_incident(run: Run, config: Path, said: Said, expected: Any) -> None:
    run(mark_commands.mark, said)
    [mark] = known(config)
    assert mark.model_dump().items() >= expected.items()


def test_a_label_without_an_incident_says_of_which_time_it_is(run: Run, config: Path) -> None:
    (config / "keys.yaml").write_text(KEYS.replace("key-1", "key-0"))

    said = run(mark_commands.mark, Said("key-0", "true", "seen on a paste site", "ann"))

    [mark] = known(config)
    assert mark.until_ms - mark.from_ms == DAY_MS
    assert f"marked key-0 from {minute(mark.from_ms)} to {minute(mark.until_ms)} as true: {mark.mark_id}" in said


def test_a_slip_in_the_name_of_a_cohort_is_told(config: Path) -> None:
    dsn = fresh_dsn()
    (config / "keyfuse.yaml").write_text(f"store: {{dsn: '{dsn}', retention_days: 36500}}\n")
    file = as_file(config / "used.jsonl", [{"ts_s": wall_ms() / 1000 - 60, "key_id": "k"}])
    store = open_store(dsn)
    migrate(store, retention_days=36_500)
    with open_history(Install.open(config), (str(file),), from_ms=None, until_ms=None) as history:
        archive = resume(store, "usage.frames", 0, offset=0, metadata="", now_ms=1)
        for offset, rows in enumerate(history.frames()):
            archive.add(offset, rows, now_s=0)
    archive.intent()
    write(store, archive)
    store.close()

    with pytest.raises(UserError, match="no key of prod/opneai is in use; there are prod/openai"):
        mark_commands.mark(config, Said("prod/opneai", "false-positive", "r", "ann", scope="cohort"), out=Console())
    with pytest.raises(UserError, match="nothing runs in"):  # the name is right, but there is no broker
        mark_commands.mark(config, Said("prod/openai", "false-positive", "r", "ann", scope="cohort"), out=Console())


def test_what_is_expected_begins_now_or_with_its_incident_and_outlives_a_false_positive(run: Run, config: Path) -> None:
    now_ms = wall_ms()
    run(mark_commands.mark, Said("key-1", "expected", "r", "ann", until="4h"))
    [mark] = known(config)
    assert now_ms <= mark.from_ms == mark.at_ms
    assert mark.until_ms == mark.at_ms + 4 * 3_600_000
    run(mark_commands.mark, Said("key-1", "false-positive", "r", "ann"))
    assert {each.verdict for each in known(config)} == {"expected", "false_positive"}


def test_marks_go_to_a_file_and_come_back_but_none_that_was_withdrawn_meanwhile(
    run: Run, config: Path, tmp_path: Path
) -> None:
    run(mark_commands.mark, Said("inc_new", "false-positive", "r", "ann"))
    run(mark_commands.mark, Said("inc_open", "true", "r", "ann"))
    file = tmp_path / "labels.ndjson"
    assert "2 marks written" in run(mark_commands.export, str(file))
    assert mark_commands.labels_of(str(file)) == known(config)
    run(mark_commands.unmark, Mark.id_of("inc_new"), reason="a slip", by="bo")
    extra = false_positive("key-9")
    file.write_bytes(file.read_bytes() + extra.to_bytes() + b"\n")
    assert "1 of 3 marks taken" in run(mark_commands.take_in, str(file))
    assert [each.withdrawn for each in known(config) if each.incident_id == "inc_new"] == [True]
    assert extra in known(config)


def test_without_a_broker_the_store_knows_the_marks(config: Path) -> None:
    store = Install.open(config).open_store()
    table, row = record_row(false_positive("key-1", at_ms=wall_ms()))
    store.insert_records(table, [row])
    store.close()
    said = io.StringIO()
    mark_commands.marks(config, everything=False, out=Console(file=said, width=300))
    assert "threshold 0.5 higher" in said.getvalue()


def test_announced_times_are_listed_until_they_are_over(config: Path) -> None:
    over, now = (
        "from: 2026-01-01, until: 2026-01-02",
        f"from: {rfc3339(wall_ms())}, until: {rfc3339(wall_ms() + DAY_MS)}",
    )
    windows = [f"  - {{what: launch, owner: ann, reason: r, envs: [prod], {times}}}" for times in (over, now)]
    (config / "detectors.yaml").write_text("announced:\n" + "\n".join(windows))
    for everything, shown in ((True, 2), (False, 1)):
        said = io.StringIO()
        mark_commands.marks(config, everything=everything, out=Console(file=said, width=300))
        assert said.getvalue().count("announced by ann in detectors.yaml: launch, r") == shown


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (Said("key-1", "maybe", "r", "ann"), "maybe: expected one of true, false-positive, expected"),
        (Said("key-1", "true", "r", "keyfuse"), "say who you are"),
        (Said("key-1", "true", " ", "ann"), "--reason: say why"),
        (Said("key-1", "expected", "r", "ann"), "expected until when"),
        (Said("key-1", "expected", "r", "ann", until="soon"), "--until soon: expected 90m"),
        (Said("key-1", "expected", "r", "ann", until="2020-01-01"), "that is over"),
        (Said("key-1", "expected", "r", "ann", until="32d"), "more than 31 days"),
        (Said("key-1", "true", "r", "ann", until="4h"), "go with `expected` alone"),
        (Said("key-1", "false-positive", "r", "ann", times=3), "go with `expected` alone"),
        (Said("key-1", "false-positive", "r", "ann", families=("policy",)), "no mark softens a certain limit"),
        (Said("key-1", "false-positive", "r", "ann", families=("leak",)), "no mark softens what no detector says"),
        (Said("key-1", "false-positive", "r", "ann", families=("speed",)), "--family speed: expected some of velocity"),
        (Said("key-1", "true", "r", "ann", scope="world"), "--scope world: expected key or cohort"),
        (Said("prod", "false-positive", "r", "ann", scope="cohort"), "name a cohort as ENV/PROVIDER"),
        (Said("prod/openai", "true", "r", "ann", scope="cohort"), "of a cohort only false alarms"),
        (Said("inc_none", "true", "r", "ann"), "no incident inc_none"),
        (Said("manual:1", "false-positive", "r", "ann"), "no detector spoke in manual:1"),
        (Said("key-9", "true", "r", "ann"), "nothing is known of a key key-9"),
        (Said("sk-proj-Ab3dEf6hIj9kLm2nOp5qRs8t", "true", "r", "ann"), "looks like the secret itself"),
        (Said("key-1", "true", "r", "ann"), "nothing runs in"),
    ],
)
def test_a_slip_is_told_in_one_sentence(config: Path, said: Said, words: str) -> None:
    with pytest.raises(UserError, match=words):
        mark_commands.mark(config, said, out=Console())


@pytest.mark.parametrize(
    ("content", "words"), [(None, "No such file"), (b"{}", "labels.ndjson: line 1 is no mark: mark_id: Field required")]
)
def test_a_file_that_holds_no_marks_is_told(tmp_path: Path, content: bytes | None, words: str) -> None:
    file = tmp_path / "labels.ndjson"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UserError, match=words):
        mark_commands.labels_of(str(file))
