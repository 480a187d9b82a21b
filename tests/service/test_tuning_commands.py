"""`backtest`, `tune`, `explain`, `warm-up` and `shadow` as a person types them."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import orjson
import pytest
import yaml
from rich.console import Console

from detectors.families import CALIBRATED
from schemas.records import Leak
from service import warm_up_file
from service.cli import main
from service.config_folder import load_detectors
from service.history import Wanted, moment, open_history
from service.install import Install, Running
from service.warm_up_command import warm_up
from storage.archiving import resume, write
from storage.client import open_store
from storage.migrate import migrate
from storage.rows import record_row
from storage.testing import fresh_dsn
from tests.containment.build import incident
from tests.detectors.traffic import DAY_S
from tests.service.past import STOLEN, THEFT_S, as_file, events, mark

WIRING = {"kafka": {"partitions": 2}, "state": {"shards": 4}}
SECRET = "sk-proj-Ab3dEf6hIj9kLm2nOp5qRs8t"
AT = datetime.fromtimestamp(THEFT_S + 20, UTC).isoformat()


class Said(NamedTuple):
    code: int
    out: str
    err: str


Run = Callable[..., Said]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """A command in a directory with a folder `keyfuse.d` and a history `past.jsonl`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KEYFUSE_CONFIG", raising=False)
    (tmp_path / "keyfuse.d").mkdir()
    wiring = WIRING | {"store": {"dsn": fresh_dsn(), "retention_days": 36_500}}
    (tmp_path / "keyfuse.d" / "keyfuse.yaml").write_text(yaml.safe_dump(wiring), encoding="utf-8")
    as_file(tmp_path / "past.jsonl", events())

    def command(*words: str) -> Said:
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(words)
        said = capfd.readouterr()
        return Said(int(ended.value.code or 0), said.out, said.err)

    return command


def candidate(directory: Path, **sections: object) -> str:
    (directory / "new.yaml").write_text(yaml.safe_dump(sections), encoding="utf-8")
    return str(directory / "new.yaml")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["explain", STOLEN], "Missing option '--at'"),
        (["explain", STOLEN, "--at", "soon", "past.jsonl"], "--at soon: expected a time like"),
        (["explain", "nobody", "--at", AT, "past.jsonl"], "nobody was not used in the history before"),
        (["explain", STOLEN, "--at", "2026-11-25", "past.jsonl"], "and only use is judged; its last use before was at"),
        (["explain", STOLEN, "--at", AT, "none.jsonl"], "none.jsonl: no such file"),
        (["explain", STOLEN, "--at", AT, "--from", "2026-11-25", "past.jsonl"], " is before --from 2026-11-25"),
        (["explain", SECRET, "--at", AT, "past.jsonl"], "this looks like the secret itself"),
        (["explain", STOLEN, "--at", AT, "past.jsonl", "--labels", "none"], "none: No such file"),
        (["backtest"], "Missing argument 'CANDIDATE'"),
        (["backtest", "none.yaml", "past.jsonl"], "a file like detectors.yaml, or a folder"),
        (["backtest", "past.jsonl", "past.jsonl"], "YAML"),
        (["backtest", "tuned", "past.jsonl"], "it has no detectors.yaml; name a file in it: detectors.proposed.yaml"),
        (["backtest", "empty", "past.jsonl"], "empty: no configuration folder, it has no detectors.yaml"),
        (["backtest", "keyfuse.d", "past.jsonl", "--learn-hours", "99"], "the history has no more than"),
        (["backtest", "keyfuse.d", "past.jsonl", "--from", "2d", "--until", "3d"], "--until 3d is not after --from 2d"),
        (["backtest", "keyfuse.d", "past.jsonl", "--until", "2026-01-01"], "1 file: no events in that time"),
        (["backtest", "keyfuse.d", "past.jsonl", "--out", "past.jsonl"], "--out past.jsonl: a file; name a folder"),
        (["backtest", "keyfuse.d"], "the store has no events in that time; name files"),
        (["backtest", "keyfuse.d", "past.jsonl", "--against", "typo"], "--config typo: no such folder"),
        (["tune", "past.jsonl", "--out", "keyfuse.d"], "--out keyfuse.d: the folder in force"),
        (["tune", "--alerts-per-week", "many"], "--alerts-per-week"),
        (["warm-up", "none.jsonl"], "none.jsonl: no such file"),
        (["tune"], "the store lacks a table: nothing ran here yet"),
        (["marks", "--export", "a", "--import", "b"], "--export and --import: one at a time"),
        (["marks"], "the store lacks a table: nothing ran here yet"),
        (["shadow"], "no candidate was on trial yet: put one into keyfuse.d/detectors.shadow.yaml"),
    ],
)  # fmt: skip
def test_a_mistake_gets_a_clear_sentence(run: Run, words: list[str], sentence: str) -> None:
    if words in (["shadow"], ["backtest", "keyfuse.d"]):
        run("migrate")
    Path("empty").mkdir()
    Path("tuned").mkdir()
    Path("tuned/detectors.proposed.yaml").touch()
    said = run(*words)

    assert (said.code, "Traceback" in said.err) == (2, False), said
    assert said.err.startswith("keyfuse: ")
    assert sentence in said.err


def test_every_mistake_of_a_candidate_is_told_with_its_line(run: Run, tmp_path: Path) -> None:
    file = candidate(tmp_path, velocity={"alarm_per_key_weak": 3}, mix={"min_requests": -1})

    said = run("backtest", file, "past.jsonl")

    assert said.code == 2
    assert 'did you mean "alarm_per_key_week"' in said.err
    assert "new.yaml:2" in said.err
    assert "a whole number from 1 up" in said.err


def test_explain_names_what_fired_first(run: Run) -> None:
    said = run("explain", STOLEN, "--at", AT, "past.jsonl")

    assert said.code == 0, said.err
    rows = [line.split() for line in said.out.splitlines() if line.endswith((" yes", " no"))]
    assert rows[0][-1] == "yes"
    assert {row[0] for row in rows} >= {"velocity", "mix", "origin", "policy", "drift", "cohort"}
    assert f"{STOLEN} (search/unknown in prod, openai)" in said.out
    assert "why not: " in said.out


def test_backtest_compares_and_writes_the_same_each_time(run: Run, tmp_path: Path) -> None:
    file = candidate(tmp_path, limits={"enabled": False}, **{
        name: {"enabled": False} for name in CALIBRATED
    })  # fmt: skip
    (tmp_path / "labels.ndjson").write_bytes(mark("true").to_bytes() + b"\n")
    words = ("backtest", file, "past.jsonl", "--labels", "labels.ndjson", "--out")

    first, second = run(*words, "one"), run(*words, "two")

    assert (first.code, first.err) == (3, "keyfuse: the candidate loses 1 label that must be kept right\n")
    assert "labelled thefts caught                   1 of 1       0 of 1" in first.out
    assert "lost: the current one alone tells: 1" in first.out
    assert first.out.replace("one/", "two/") == second.out
    assert Path("one/backtest.json").read_bytes() == Path("two/backtest.json").read_bytes()
    data = orjson.loads(Path("one/backtest.json").read_bytes())
    assert [told["key_id"] for told in data["current"]] == [STOLEN]


def test_backtest_takes_a_whole_folder(run: Run, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "responses.yaml").write_text("protected_keys: [k02]\n", encoding="utf-8")

    said = run("backtest", "other", "past.jsonl")

    assert said.code == 0
    assert "automatic cuts in mode auto                   1            0" in said.out


def test_tune_writes_a_file_that_can_be_used_and_touches_none_in_force(run: Run, tmp_path: Path) -> None:
    (tmp_path / "keyfuse.d" / "detectors.yaml").write_text("limits: {usd_per_min: 3}\n", encoding="utf-8")
    (tmp_path / "labels.ndjson").write_bytes(mark("true").to_bytes() + b"\n")

    said = run("tune", "past.jsonl", "--alerts-per-week", "40", "--labels", "labels.ndjson")

    assert said.code == 0, said.err
    assert "measured against 1 theft that people have marked" in said.out
    proposed = load_detectors(tmp_path / "tuned" / "detectors.proposed.yaml")
    assert proposed.limits.usd_per_min == 3
    assert (tmp_path / "tuned" / "tune.png").stat().st_size > 5000
    assert orjson.loads((tmp_path / "tuned" / "tune.json").read_bytes())["wanted_alerts_per_week"] == 40
    assert (tmp_path / "keyfuse.d" / "detectors.yaml").read_text() == "limits: {usd_per_min: 3}\n"
    assert run("backtest", "tuned/detectors.proposed.yaml", "past.jsonl").code == 0


def test_warm_up_of_an_embedded_install_is_a_file_that_up_begins_with(run: Run, tmp_path: Path) -> None:
    long_ago = [{**event, "ts_s": event["ts_s"] - 1000 * DAY_S} for event in events()]  # whatever clock the test has
    as_file(tmp_path / "past.jsonl", long_ago)

    said = run("warm-up", "past.jsonl")

    assert said.code == 0, said.err
    assert "4 keys" in said.out
    assert "prod/openai: 4 keys" in said.out
    assert "the history itself was suspicious of" in said.out
    states = warm_up_file.load(warm_up_file.path_of(Install.open(tmp_path / "keyfuse.d")))
    assert [(state.partition, state.name) for state in states[:6]] == [
        (0, "cohorts"), (0, "0"), (0, "1"), (0, "2"), (0, "3"), (0, "clock"),
    ]  # fmt: skip
    again = run("warm-up", "past.jsonl")
    assert (again.code, "`--replace` throws it away" in again.err) == (2, True)
    assert run("warm-up", "past.jsonl", "--replace").code == 0


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("2026-11-23T10:00:00Z", 1_795_428_000_000),
        ("2026-11-23T12:00:00+02:00", 1_795_428_000_000),
        ("2026-11-23 10:00", 1_795_428_000_000),
        ("2026-11-23", 1_795_392_000_000),
        ("2h", 1_795_420_800_000),
        ("1.5d", 1_795_298_400_000),
        (f"{'9' * 400}w", 0),
        ("1900-01-01", 0),
    ],
)
def test_times_as_people_write_them(text: str, ms: int) -> None:
    assert moment(text, now_ms=1_795_428_000_000, option="--at") == ms


@pytest.fixture
def stored(run: Run, tmp_path: Path) -> Run:
    """The same history in the store of the folder, with a mark on its theft."""
    install = Install.open(tmp_path / "keyfuse.d")
    store = install.open_store()
    migrate(store, retention_days=36_500)
    with open_history(install, ("past.jsonl",), from_ms=None, until_ms=None) as history:
        archive = resume(store, "usage.frames", 0, offset=0, metadata="", now_ms=1)
        for offset, rows in enumerate(history.frames()):
            archive.add(offset, rows, now_s=0)
    archive.intent()
    write(store, archive)
    store.insert_records("marks", [record_row(mark("true"))[1]])
    store.close()
    return run


def test_the_stored_history_says_what_the_files_say(stored: Run, tmp_path: Path) -> None:
    file = candidate(tmp_path, limits={"usd_per_min": 0.01})
    (tmp_path / "labels.ndjson").write_bytes(mark("true").to_bytes() + b"\n")

    from_files = stored("backtest", file, "past.jsonl", "--labels", "labels.ndjson")
    from_store = stored("backtest", file)

    assert from_store.code == 0, from_store.err
    assert from_store.out.replace("the stored history", "1 file") == from_files.out
    assert "labelled thefts caught                   1 of 1       1 of 1" in from_store.out


def test_a_part_of_the_stored_history_is_played(stored: Run) -> None:
    before = datetime.fromtimestamp(THEFT_S - 60, UTC).isoformat()

    quiet = stored("backtest", "keyfuse.d", "--until", before)
    loud = stored("backtest", "keyfuse.d")

    assert "alerts in all                                 0            0" in quiet.out
    assert "alerts in all                                 1            1" in loud.out


def test_explain_and_warm_up_take_the_stored_history(stored: Run, tmp_path: Path) -> None:
    said = stored("explain", STOLEN, "--at", AT)
    assert said.code == 0, said.err
    assert said.out == stored("explain", STOLEN, "--at", AT, "past.jsonl").out

    page, install = io.StringIO(), Install.open(tmp_path / "keyfuse.d")
    before = datetime.fromtimestamp(THEFT_S - 60, UTC).isoformat()
    console = Console(file=page, width=200)
    learned = warm_up(
        install, Wanted(until=before), replace=False, now_ms=(THEFT_S + 900) * 1000, out=console, err=console
    )
    assert "learned from the stored history, 2026-11-23 10:" in page.getvalue()
    assert (learned.keys, learned.clock_s <= THEFT_S - 60, learned.suspicious) == (4, True, {})


def test_explain_shows_where_others_have_found_the_key(stored: Run, tmp_path: Path) -> None:
    store = open_store(Install.open(tmp_path / "keyfuse.d").folder.wiring.store.dsn)
    leaked = Leak(source="paste site", url="https://p/1", by="ci", told_at_ms=THEFT_S * 1000)
    told = incident(key_id=STOLEN, families=("leak",), scores={}, leaks=(leaked,), opened_at_ms=THEFT_S * 1000)
    store.insert_records("incidents", [record_row(told)[1]])
    store.close()

    said = stored("explain", STOLEN, "--at", AT)
    alone = stored("explain", STOLEN, "--at", AT, "past.jsonl")

    assert said.out.splitlines()[-1].endswith("Z: found in paste site at https://p/1, reported by ci")
    assert said.out.startswith(alone.out), "files are explained by themselves"
    assert "  leak   found in paste site at https://p/1, reported by ci\n" in stored("incidents").out


def test_the_embedded_store_of_a_running_install_is_not_touched(stored: Run, tmp_path: Path) -> None:
    Running("127.0.0.1:1", "http://127.0.0.1:1", os.getpid()).write(tmp_path / ".keyfuse")

    for words in (("backtest", "keyfuse.d"), ("tune",), ("explain", STOLEN, "--at", AT)):
        said = stored(*words)
        assert (said.code, said.err.startswith("keyfuse: `keyfuse up` runs in ")) == (2, True)
        assert "has the store open; stop it first, or name files" in said.err
