"""`keyfuse replay`: the same input gives the same bytes, in time order, and a closed loop stops the loss."""

from __future__ import annotations

import gzip
import hashlib
import os
import random
import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import SecretStr
from rich.console import Console

from schemas.config import KeysConfig, ResponsesConfig
from schemas.config.keys import KeyConfig
from schemas.config.policies import PoliciesConfig, PolicyConfig
from schemas.exception import PolicyException
from schemas.fingerprint import Fingerprinter
from schemas.records import CERTAIN
from service.config_tree import Folder
from service.errors import UserError
from service.exported import exceptions_of
from service.replay import Replay, ReplayResult, read_events
from service.replay_command import Meanwhile, main, summary
from service.replay_files import read_lines
from service.simulate import traffic
from sources.batch import BatchParser
from sources.pricing import PriceBook
from tests.marks import false_positive, withdrawn

END_MS = 1_795_478_400_000
OBSERVE = Folder()
Lines = list[dict[str, Any]]


def as_lines(events: Iterable[dict[str, Any]]) -> list[bytes]:
    return [orjson.dumps(event) + b"\n" for event in events]


@pytest.fixture(scope="module")
def burst() -> list[bytes]:
    """16 minutes of 6 keys; one is stolen in the last quarter. No two events of one key share a millisecond."""
    events = sorted(traffic(keys=6, minutes=16, theft="burst", seed=1, end_ms=END_MS), key=lambda event: event["ts"])
    taken: set[int] = set()
    for event in events:
        while event["ts"] in taken:
            event["ts"] += 1
        taken.add(event["ts"])
    return as_lines(events)


def parser() -> BatchParser:
    return BatchParser(fingerprinter=Fingerprinter(SecretStr("pepper")), prices=PriceBook(), max_future_s=None)


def replayed(
    lines: Iterable[bytes], folder: Folder = OBSERVE, *, lines_per_parse: int = 20_000, **how: Any
) -> ReplayResult:
    table, dead = read_events(lines, parser(), lines_per_parse=lines_per_parse)
    result = Replay(folder, offered={}, **how).run(table)
    result.dead = dead
    return result


def told(result: ReplayResult, kind: str) -> Lines:
    return [line for line in map(orjson.loads, result.lines) if line["type"] == kind]


def ms(at: str) -> int:
    return round(datetime.fromisoformat(at).timestamp() * 1000)


@pytest.fixture(scope="module")
def observed(burst: list[bytes]) -> ReplayResult:
    return replayed(burst)


@pytest.fixture(scope="module")
def closed(burst: list[bytes]) -> ReplayResult:
    return replayed(burst, closed_loop=True)


def test_the_theft_is_found(observed: ReplayResult) -> None:
    assert {line["type"] for line in map(orjson.loads, observed.lines)} == {"finding", "incident", "command"}
    assert len(observed.incidents) == 1


def test_each_line_has_the_promised_fields(observed: ReplayResult) -> None:
    fields = {
        "finding": ["type", "at", "key_id", "family", "severity", "score", "reason", "evidence"],
        "incident": ["type", "at", "incident_id", "key_id", "state", "severity", "families"],
        "command": ["type", "at", "incident_id", "key_id", "step", "automatic", "reversible"],
    }
    for line in map(orjson.loads, observed.lines):
        assert list(line) == fields[line["type"]]
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["at"])


def test_marks_hold_in_the_replay_and_are_named_in_what_is_said(burst: list[bytes], observed: ReplayResult) -> None:
    [stolen] = {line["key_id"] for line in told(observed, "finding")}
    learned = [line for line in told(observed, "finding") if line["family"] not in CERTAIN]
    opened_ms = ms(learned[0]["at"])
    before = false_positive(stolen, at_ms=opened_ms - 3_600_000)
    marked = replayed(burst, marks=[before])
    changed = [line for line in told(marked, "finding") if line["family"] not in CERTAIN]
    assert changed
    assert all(line["evidence"]["allowed_by"] == before.mark_id for line in changed)
    assert [one for one in told(marked, "finding") if one["family"] in CERTAIN] == [
        one for one in told(observed, "finding") if one["family"] in CERTAIN
    ]
    after = false_positive(stolen, at_ms=END_MS)
    for nothing in ([after], [before, withdrawn(before)], [false_positive("another", at_ms=before.at_ms)]):
        assert replayed(burst, marks=nothing).lines == observed.lines


NO_MODEL = Folder(policies=PoliciesConfig(policies=(PolicyConfig(name="none", denied_models=("*",)),)))


def lifted(key_id: str, *, until_ms: int = END_MS - 8 * 60_000, **changes: Any) -> PolicyException:
    """Every model for one key, for a day up to the middle of the traffic."""
    fields = {
        "exception_id": "exc_1", "at_ms": 0, "change": "approved by bob", "state": "active", "rule": "models",
        "allows": ("*",), "keys": (key_id,), "from_ms": until_ms - 86_400_000, "until_ms": until_ms, "reason": "launch",
        "owner": "ann", "by": "ann", "asked_at_ms": 0, "approved_by": "bob",
    }  # fmt: skip
    return PolicyException.model_validate(fields | changes)


def test_exceptions_hold_in_the_replay_each_in_its_time(burst: list[bytes]) -> None:
    plain = replayed(burst, NO_MODEL)
    one, other = sorted({orjson.loads(line)["key_id"] for line in burst})[:2]
    excepted, moment = replayed(burst, NO_MODEL, exceptions=[lifted(one)]), END_MS - 8 * 60_000
    before, after = (times(b"".join(result.lines), one) for result in (plain, excepted))
    assert after == [at for at in before if at >= moment] != before
    before, after = (times(b"".join(result.lines), other) for result in (plain, excepted))
    assert after == before
    for nothing in (lifted(one, state="asked", approved_by=""), lifted("another"), lifted(one, until_ms=1)):
        assert replayed(burst, NO_MODEL, exceptions=[nothing]).lines == plain.lines


def test_a_file_of_exceptions_gives_the_same_bytes_in_whatever_order_it_is(tmp_path: Path, burst: list[bytes]) -> None:
    keys = sorted({orjson.loads(line)["key_id"] for line in burst})
    file, events, config = tmp_path / "exceptions.ndjson", tmp_path / "events.jsonl", tmp_path / "keyfuse.d"
    events.write_bytes(b"".join(burst))
    config.mkdir()
    (config / "policies.yaml").write_text("policies: [{name: none, denied_models: ['*']}]\n")
    asked = lifted(keys[0], until_ms=END_MS)
    over = asked.model_copy(update={"seq": 1, "state": "ended", "at_ms": END_MS - 8 * 60_000})
    lines = [one.to_bytes() for one in (asked, over, lifted(keys[1], exception_id="exc_2"))]

    def bytes_of(*exceptions: bytes) -> bytes:
        file.write_bytes(b"\n".join(exceptions))
        out = tmp_path / "out"
        main(
            [str(events)], str(out), config, closed_loop=False, latency_s=5, meanwhile=Meanwhile("", str(file)),
            err=Console(quiet=True),
        )  # fmt: skip
        return out.read_bytes()

    excepted = bytes_of(*lines)
    assert bytes_of(*reversed(lines)) == excepted
    without, moment = bytes_of(), END_MS - 8 * 60_000
    assert [at for at in times(without, keys[0]) if at < moment]
    for number, key_id in enumerate(keys):
        held = [at for at in times(without, key_id) if at >= moment or number > 1]
        assert times(excepted, key_id) == held


def times(output: bytes, key_id: str) -> list[int]:
    """When the key broke the policy, by a file of lines."""
    lines = [line for line in map(orjson.loads, output.splitlines()) if line["key_id"] == key_id]
    return [ms(line["at"]) for line in lines if line["type"] == "finding" and line["family"] == "policy"]


def test_a_file_that_holds_no_exceptions_is_a_clear_error(tmp_path: Path) -> None:
    file = tmp_path / "exceptions.ndjson"
    file.write_bytes(lifted("k").to_bytes() + b'\n{"type": "mark"}\n')
    with pytest.raises(UserError, match=r"exceptions\.ndjson: line 2 is no exception: "):
        exceptions_of(str(file))
    with pytest.raises(UserError, match="No such file"):
        exceptions_of(str(tmp_path / "nothing"))


@pytest.mark.parametrize("closed_loop", [False, True])
@pytest.mark.parametrize(("rows_per_step", "lines_per_parse"), [(97, 20_000), (1013, 33)])
def test_how_it_is_cut_into_chunks_does_not_show(
    burst: list[bytes], observed: ReplayResult, closed: ReplayResult, *, closed_loop: bool, rows_per_step: int,
    lines_per_parse: int,
) -> None:  # fmt: skip
    again = replayed(burst, closed_loop=closed_loop, rows_per_step=rows_per_step, lines_per_parse=lines_per_parse)
    assert again.lines == (closed if closed_loop else observed).lines


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("closed_loop", [False, True])
def test_the_order_of_the_lines_does_not_matter(
    burst: list[bytes], observed: ReplayResult, closed: ReplayResult, *, closed_loop: bool, seed: int
) -> None:
    shuffled = list(burst)
    random.Random(seed).shuffle(shuffled)
    assert replayed(shuffled, closed_loop=closed_loop).lines == (closed if closed_loop else observed).lines


@pytest.mark.parametrize("closed_loop", [False, True])
def test_the_output_is_in_time_order(observed: ReplayResult, closed: ReplayResult, *, closed_loop: bool) -> None:
    times = [orjson.loads(line)["at"] for line in (closed if closed_loop else observed).lines]
    assert times == sorted(times)


def test_in_observe_mode_a_command_has_no_effect(burst: list[bytes], observed: ReplayResult) -> None:
    assert told(observed, "command")
    assert (observed.events, observed.dropped_events) == (len(burst), 0)
    assert observed.contained == []
    assert "contained" not in {line["state"] for line in told(observed, "incident")}


def test_a_closed_loop_drops_what_comes_after_the_cut_and_nothing_else(
    burst: list[bytes], observed: ReplayResult, closed: ReplayResult
) -> None:
    command = next(line for line in told(closed, "command") if line["step"] in ("block", "disable", "revoke"))
    cut_ms = ms(command["at"]) + 5000
    later = [e for e in map(orjson.loads, burst) if e["key_id"] == command["key_id"] and e["ts"] > cut_ms]
    assert len(later) > 100
    assert closed.dropped_events == len(later)
    assert closed.events == len(burst) - len(later)
    assert closed.usd < observed.usd
    assert closed.contained[0].lost_usd < max(incident.lost_usd for incident in observed.incidents.values()) / 2


def test_no_event_after_the_cut_is_seen(closed: ReplayResult) -> None:
    command = told(closed, "command")[0]
    cut_ms = ms(command["at"]) + 5000
    assert all(ms(f["at"]) <= cut_ms for f in told(closed, "finding") if f["key_id"] == command["key_id"])


def test_a_closed_loop_contains_at_the_moment_of_effect(closed: ReplayResult) -> None:
    command = told(closed, "command")[0]
    states = [(line["state"], ms(line["at"])) for line in told(closed, "incident")]
    assert ("contained", ms(command["at"]) + 5000) in states


def test_the_bill_is_what_the_key_spent_until_its_cut(burst: list[bytes], closed: ReplayResult) -> None:
    bill = closed.contained[0]
    mine = sorted((e for e in map(orjson.loads, burst) if e["key_id"] == bill.key_id), key=lambda e: e["ts"])
    opened_ms = ms(told(closed, "incident")[0]["at"])
    cut_ms = opened_ms + round(bill.seconds * 1000)
    spent = replayed(as_lines(e for e in mine if opened_ms <= e["ts"] <= cut_ms)).usd
    assert bill.usd == pytest.approx(spent)
    assert any(bill.key_id in line and f"{bill.usd:,.2f} USD" in line for line in summary(closed, closed_loop=True))


@pytest.mark.parametrize("latency_s", [0.0, 0.5, 2.5, 60.0])
def test_the_containment_latency_moves_the_cut(burst: list[bytes], latency_s: float) -> None:
    result = replayed(burst, closed_loop=True, containment_latency_s=latency_s)
    command = told(result, "command")[0]
    cut_ms = ms(command["at"]) + int(latency_s * 1000)
    later = [e for e in map(orjson.loads, burst) if e["key_id"] == command["key_id"] and e["ts"] > cut_ms]
    assert result.dropped_events == len(later)


def test_a_protected_key_is_not_cut_even_in_a_closed_loop(burst: list[bytes], closed: ReplayResult) -> None:
    key_id = closed.contained[0].key_id
    folder = Folder(responses=ResponsesConfig(protected_keys=(key_id,)))
    result = replayed(burst, folder, closed_loop=True)
    assert result.dropped_events == 0
    assert [line["automatic"] for line in told(result, "command")] == [False]


def test_approve_mode_waits_for_a_person(burst: list[bytes]) -> None:
    result = replayed(burst, Folder(responses=ResponsesConfig(mode="approve")))
    assert [line["automatic"] for line in told(result, "command")] == [False]
    assert result.dropped_events == 0


def test_what_cannot_be_taken_is_counted_and_changes_nothing_else(burst: list[bytes], observed: ReplayResult) -> None:
    good = orjson.loads(burst[0])
    bad = [
        b"{broken\n", b"\n", b"   \n", b'"text"\n', b"\xff\xfe\n", b'{"a":1}\n',
        orjson.dumps(good | {"event_id": "x1", "input_tokens": -1}) + b"\n",
        orjson.dumps(good | {"event_id": "x2", "ts": "yesterday"}) + b"\n",
        burst[0].replace(b'"requests":1', b'"requests":NaN'),
    ]  # fmt: skip
    result = replayed(bad[:5] + burst + bad[5:])
    assert result.lines == observed.lines
    assert len(result.dead) == 7
    shown = "\n".join(summary(result, closed_loop=False))
    assert "7 records could not be taken" in shown
    assert "invalid_field input_tokens (1)" in shown


def test_events_that_come_twice_are_scored_once_and_told(burst: list[bytes], observed: ReplayResult) -> None:
    twice = replayed([*burst, *burst])

    assert twice.repeated == len(burst) > observed.repeated == 0
    assert twice.findings == observed.findings
    [told] = [line for line in summary(twice, closed_loop=False) if "came again" in line]
    assert told.startswith(f"{len(burst):,} events came again with the same event_id")


def test_a_file_without_one_event_says_so() -> None:
    shown = summary(replayed([b"id,cost\n", b"1,2\n"]), closed_loop=False)
    assert shown[0].startswith("0 keys, 0 events, 0.00 USD: 0 findings, 0 incidents")
    assert "Are these events?" in shown[1]


def test_nothing_in_gives_nothing_out() -> None:
    result = replayed([])
    assert (result.lines, result.keys, result.events, result.dead) == ([], 0, 0, [])


def test_secrets_do_not_reach_the_output(burst: list[bytes], observed: ReplayResult) -> None:
    stolen = told(observed, "incident")[0]["key_id"]
    secret = "sk-proj-" + hashlib.sha256(b"a key").hexdigest()[:40]
    lines = []
    for event in map(orjson.loads, burst):
        if event["key_id"] == stolen:
            del event["key_id"]
            event |= {"key": secret, "user_agent": f"curl/8 {secret}", "model": event["model"]}
        lines.append(orjson.dumps(event))
    result = replayed(lines)
    assert len(told(result, "command")) == 1
    output = b"".join(result.lines).decode() + "\n".join(summary(result, closed_loop=False))
    assert secret not in output
    assert "sk-proj-" not in output
    assert told(result, "command")[0]["key_id"] == Fingerprinter(SecretStr("pepper")).of(secret)


def litellm(event: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": event["event_id"], "litellm_call_id": event["event_id"], "call_type": "acompletion",
        "startTime": event["ts"] / 1000, "endTime": event["ts"] / 1000 + 1, "status": "success",
        "custom_llm_provider": event["provider"], "model": event["model"],
        "metadata": {"user_api_key_hash": hashlib.sha256(event["key_id"].encode()).hexdigest()},
        "prompt_tokens": event["input_tokens"], "completion_tokens": event["output_tokens"],
        "total_tokens": event["input_tokens"] + event["output_tokens"], "response_cost": 0.5,
    }  # fmt: skip


def test_litellm_lines_are_read_beside_native_ones(burst: list[bytes]) -> None:
    half = len(burst) // 2
    native = [orjson.loads(line) for line in burst]
    result = replayed(as_lines(native[:half]) + as_lines(map(litellm, native[half:])))
    assert result.dead == []
    assert result.events == len(burst)
    assert any(len(line["key_id"]) == 64 for line in told(result, "incident"))


def test_the_registry_tells_whose_key_it_is(burst: list[bytes], observed: ReplayResult) -> None:
    """What is written in keys.yaml is believed, not what events say: here a mode by environment hangs on it."""
    key_id = told(observed, "incident")[0]["key_id"]
    keys = KeysConfig(keys=(KeyConfig(key_id=key_id, provider="openai", env="lab"),))
    folder = Folder(keys=keys, responses=ResponsesConfig(modes={"lab": "approve"}))
    assert [line["automatic"] for line in told(replayed(burst, folder), "command")] == [False]


def given(line: bytes) -> dict[str, Any]:
    """The event without its nulls, which mean the same as nothing."""
    return {name: value for name, value in orjson.loads(line).items() if value is not None}


@dataclass
class Disk:
    """Writes the same events in every form that is read."""

    directory: Path
    lines: Sequence[bytes]

    def write(self, name: str) -> str:
        path = self.directory / name
        data = b"".join(self.lines)
        if name.endswith(".parquet"):
            rows = [orjson.loads(line) for line in self.lines]
            columns = dict.fromkeys(name for row in rows for name in row)
            pq.write_table(pa.table({name: [row.get(name) for row in rows] for name in columns}), path)
        elif name.startswith("packed"):
            path.write_bytes(gzip.compress(data))
        else:
            path.write_bytes((b"\xef\xbb\xbf" if "bom" in name else b"") + data)
        return str(path)


@pytest.mark.parametrize(
    "name", ["a.jsonl", "packed.jsonl.gz", "packed.jsonl", "a.parquet", "bom.jsonl", "ümläut €.ndjson"]
)
def test_every_form_of_a_file_reads_the_same(tmp_path: Path, burst: list[bytes], name: str) -> None:
    lines = burst[:300]
    read = list(read_lines(Disk(tmp_path, lines).write(name)))
    assert [given(line) for line in read] == [given(line) for line in lines]


def test_parquet_times_are_utc_and_nulls_are_absent(tmp_path: Path) -> None:
    path = tmp_path / "times.parquet"
    at = datetime(2026, 11, 23, 10, 0, 0, 123000, tzinfo=UTC)
    columns = {
        "ts": pa.array([at, at + timedelta(days=1)], pa.timestamp("ns")),
        "team": pa.array(["a", None]),
    }
    pq.write_table(pa.table(columns), path)
    assert [orjson.loads(line) for line in read_lines(str(path))] == [
        {"ts": "2026-11-23T10:00:00.123000Z", "team": "a"}, {"ts": "2026-11-24T10:00:00.123000Z"},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("cut.jsonl.gz", gzip.compress(b'{"a":1}\n' * 1000, mtime=0)[:40], "cut short"),
        ("not.jsonl.gz", b"plain text\n", "gzip"),
        ("spoilt.gz", gzip.compress(b"x" * 1000, mtime=0)[:12] + b"\xff" * 20, "gzip"),
        ("not.parquet", b"plain text\n", "parquet"),
        ("cut.parquet", b"PAR1 and then nothing", "parquet"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UserError, match=words) as refused:
        list(read_lines(str(path)))
    assert str(path) in str(refused.value)


@pytest.mark.parametrize("name", ["empty.jsonl", "empty.jsonl.gz", "empty.parquet"])
def test_an_empty_file_has_no_events(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    assert list(read_lines(str(tmp_path / name))) == []


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        list(read_lines(str(tmp_path / "none.jsonl")))
    with pytest.raises(UserError, match="a folder"):
        list(read_lines(str(tmp_path)))


_WRITE: str = """
import sys
from pathlib import Path
from service.config_tree import Folder
from service.replay import Replay, read_events
from tests.service.test_replay import parser
table, _ = read_events(Path("events.jsonl").open("rb"), parser())
sys.stdout.buffer.writelines(Replay(Folder(), offered={}, closed_loop=True).run(table).lines)
"""


def test_another_process_with_another_hash_seed_writes_the_same_bytes(
    tmp_path: Path, burst: list[bytes], closed: ReplayResult
) -> None:
    Disk(tmp_path, burst).write("events.jsonl")
    env = {"PYTHONHASHSEED": "7", "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])}
    run = subprocess.run([sys.executable, "-c", _WRITE], cwd=tmp_path, env=env, check=True, capture_output=True)
    assert run.stdout == b"".join(closed.lines)
