"""The command line as a new user meets it: each mistake gets one clear sentence, exit code 2, and no traceback."""

from __future__ import annotations

import gzip
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest
import typer.main
from aiokafka.errors import KafkaConnectionError

from alerting.channels.errors import Reason, Refused
from service.cli import app, main
from service.errors import UserError, for_people
from service.install import Install, Running
from service.tansu import BrokerError
from service.worker import ROLES
from storage.errors import Rejected, Unreachable
from streams.errors import BrokerDown


def named(group: Any, *path: str) -> Iterator[str]:
    """Every command by its full name, those within others too."""
    for name, command in group.commands.items():
        yield " ".join([*path, name])
        if hasattr(command, "commands"):
            yield from named(command, *path, name)


COMMANDS = sorted(named(typer.main.get_command(app)))
EVENT = {
    "event_id": "e1", "ts": "2026-11-23T10:00:00Z", "provider": "openai", "key_id": "key-1", "model": "gpt-4o",
    "input_tokens": 10, "output_tokens": 5,
}  # fmt: skip


@dataclass
class Said:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def sentence(self) -> str:
        """The one line on stderr of a refused command."""
        assert self.code == 2, self
        assert "Traceback" not in self.err
        assert self.err.startswith("keyfuse: "), self.err
        assert self.err.count("\n") == 1, self.err
        return self.err.removeprefix("keyfuse: ").strip()


Run = Callable[..., Said]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """A command in an empty directory."""
    monkeypatch.chdir(tmp_path)
    for name in ("KEYFUSE_CONFIG", "KEYFUSE_PEPPER", "KEYFUSE_INTAKE_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "80")

    def command(*words: str) -> Said:
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(words)
        said = capfd.readouterr()
        return Said(int(ended.value.code or 0), said.out, said.err)

    return command


def test_there_are_the_commands_of_the_manual() -> None:
    assert {"init", "check", "migrate", "up", "worker", "demo", "simulate", "replay", "keys", "incidents"} < set(
        COMMANDS
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_each_command_has_an_example(run: Run, command: str) -> None:
    said = run(*command.split(), "--help")
    assert said.code == 0
    assert f"keyfuse {command}" in " ".join(said.out.split("Example", 1)[1].split())


def test_the_help_of_a_worker_names_every_role(run: Run) -> None:
    told = " ".join(run("worker", "--help").out.replace("│", " ").split())
    assert ", ".join(ROLES) in told


def test_bare_and_help_and_version(run: Run) -> None:
    told = run("--help").out
    assert all(command in told for command in COMMANDS if " " not in command)
    assert "Example" in run().out
    assert re.fullmatch(r"keyfuse \d+\.\d+\.\d+\n", run("--version").out)


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("service.cli", ["numpy", "pydantic", "yaml", "httpx", "service.install"]),
        ("service.key_commands", ["river", "scipy", "faust", "aiohttp", "slack_sdk", "matplotlib"]),
        ("service.gate_command", ["river", "scipy", "faust", "aiohttp", "slack_sdk", "matplotlib"]),
    ],
)
def test_commands_load_nothing_heavy_that_they_do_not_need(module: str, heavy: list[str]) -> None:
    program = f"import sys, {module}; print([name for name in sys.argv[1:] if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program, *heavy], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["nosuch"], "No such command 'nosuch'; see `keyfuse --help`"),
        (["keys", "--nope"], "No such option: --nope; see `keyfuse keys --help`"),
        (["keys", "--hours", "many"], "--hours"),
        (["keys", "--hours", "nan"], "--hours"),
        (["replay"], "Missing argument 'FILE'"),
        (["contain"], "Missing argument 'KEY_ID'"),
        (["worker"], "Missing option '--role'"),
        (["worker", "--role", "score,nope"], "--role nope: expected some of ingest"),
        (["worker", "--role", ","], "expected some of ingest"),
        (["worker", "--role", "contain"], "put what `keyfuse check` shows where decide runs into commands.public_keys"),
        (["worker", "--role", "decide,score"], "commands.pem does not exist; `keyfuse init` makes one"),
        (["check"], "`keyfuse init --config keyfuse.d` makes one"),
        (["check", "--config", "typo"], "--config typo: no such folder"),
        (["replay", "x.jsonl", "--config", "typo"], "--config typo: no such folder"),
        (["up"], "`keyfuse init` makes one"),
        (["incidents", "--state", "shut"], "--state shut: expected all or one of open"),
        (["simulate", "--to", "moon"], "--to moon: expected file, http or kafka"),
        (["simulate", "--theft", "nope"], "--theft nope: expected one of burst"),
        (["simulate", "--theft", "many_keys", "--keys", "1"], "--theft many_keys needs --keys 2 or more"),
        (["simulate", "--out", "no/such/file"], "--out no/such/file: cannot be written"),
        (["simulate", "--out", "."], "--out .: cannot be written"),
        (["simulate", "--seed", "-1"], "--seed"),
        (["simulate", "--to", "http", "--minutes", "1"], "start `keyfuse up` first"),
        (["simulate", "--to", "kafka", "--minutes", "1"], "start `keyfuse up` first"),
        (["replay", "none.jsonl"], "none.jsonl: no such file"),
        (["replay", "."], "a folder"),
        (["replay", "none.jsonl", "--out", "no/such/file"], "--out no/such/file: no folder no/such"),
        (["replay", "none.jsonl", "--out", "."], "--out .: a folder"),
        (["restore", "sk-proj-Ab3dEf6hIj9kLm2nOp5qRs8t"], "looks like the secret itself"),
        (["freeze", "--by", "keyfuse"], "say who you are"),
        (["mark", "key-1", "true"], "Missing option '--reason'"),
        (["mark", "key-1", "maybe", "--reason", "r"], "maybe: expected one of true, false-positive, expected"),
        (["mark", "key-1", "expected", "--times", "9999", "--until", "4h", "--reason", "r"], "--times"),
        (["keys", "request", "--team", "search", "--env", "dev", "--purpose", "x"], "--purpose: expected 8"),
        (["keys", "show"], "Missing argument 'KEY'; see `keyfuse keys show --help`"),
        (["keys", "nosuch"], "No such command 'nosuch'; see `keyfuse keys --help`"),
        (["keys", "show", "kfk_00000000000000000000000000000000000000"], "looks like the secret itself"),
        (["unmark", "mrk_1"], "Missing option '--reason'"),
        (["replay", "none.jsonl", "--marks", "no.ndjson"], "no.ndjson: No such file"),
    ],
)  # fmt: skip
def test_a_mistake_gets_one_clear_sentence(run: Run, words: list[str], sentence: str) -> None:
    assert sentence in run(*words).sentence


def test_init_then_check(run: Run, tmp_path: Path) -> None:
    assert "keyfuse up" in run("init").out
    assert "valid. 0 keys" in run("check").out
    [signer] = re.findall("commands are signed here by ([0-9a-f]{64})", run("check").out)
    assert Install.open(tmp_path / "keyfuse.d").order_signer(make=False).public_key == signer
    assert "--force" in run("init").sentence
    assert run("init", "--force").code == 0
    assert "keyfuse check --config oth er" in run("init", "--config", "oth er").out


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("keyfuse.yaml", "kafka: [", ["keyfuse.yaml:", "YAML that cannot be read"]),
        ("keyfuse.yaml", "kafka:\n  bootstap: x\n", ["keyfuse.yaml:2", 'did you mean "bootstrap"']),
        ("keys.yaml", "keys: 7\n", ["keys.yaml:1", "found 7"]),
        ("budgets.yaml", "\xff", ["budgets.yaml"]),
    ],
)
@pytest.mark.parametrize("command", [["check"], ["up"], ["keys"], ["contain", "key-1"], ["replay", "-"], ["freeze"]])
def test_a_broken_configuration_is_told_by_every_command(
    run: Run, tmp_path: Path, command: list[str], file: str, text: str, words: list[str]
) -> None:
    (tmp_path / "keyfuse.d").mkdir()
    (tmp_path / "keyfuse.d" / file).write_bytes(text.encode("latin-1"))
    said = run(*command)
    assert said.code == 2
    assert "Traceback" not in said.err
    assert all(word in said.err for word in words), said.err


def test_the_configuration_may_not_be_a_file(run: Run, tmp_path: Path) -> None:
    (tmp_path / "keyfuse.d").write_text("mode: auto")
    assert run("keys").code == 2


def test_a_missing_broker_is_told(run: Run, tmp_path: Path) -> None:
    (tmp_path / "keyfuse.d").mkdir()
    (tmp_path / "keyfuse.d" / "keyfuse.yaml").write_text("kafka: {bootstrap: '127.0.0.1:1'}\n")
    (tmp_path / "keyfuse.d" / "keys.yaml").write_text("keys: [{key_id: key-1, provider: openai}]\n")
    assert "the broker at 127.0.0.1:1 does not answer" in run("acknowledge", "key-1", "--by", "ann").sentence


@pytest.mark.parametrize("command", ["keys", "incidents", "migrate"])
def test_a_missing_store_is_told(run: Run, tmp_path: Path, command: str) -> None:
    (tmp_path / "keyfuse.d").mkdir()
    (tmp_path / "keyfuse.d" / "keyfuse.yaml").write_text("store: {dsn: 'clickhouse://me@127.0.0.1:1/keyfuse'}\n")
    assert "the store does not answer" in run(command).sentence


def test_freezing_works_without_a_broker(run: Run, tmp_path: Path) -> None:
    assert "frozen" in run("freeze", "--by", "ann", "--reason", "größer als [erwartet]").out
    assert (tmp_path / ".keyfuse" / "FREEZE").read_text(encoding="utf-8") == "ann: größer als [erwartet]\n"
    assert "allowed again" in run("unfreeze", "--by", "ann").out
    assert not (tmp_path / ".keyfuse" / "FREEZE").exists()


def test_replay_reads_stdout_and_summary_apart(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a b.jsonl.gz").write_bytes(gzip.compress(orjson.dumps(EVENT) + b"\n{oops\n"))
    said = run("replay", "a b.jsonl.gz")
    assert (said.code, said.out) == (0, "")
    assert "1 key, 1 event, " in said.err
    assert "1 record could not be taken: not_json (1)" in said.err


def test_replay_does_not_write_over_its_input(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(orjson.dumps(EVENT))
    assert "would overwrite" in run("replay", "a.jsonl", "--out", "./a.jsonl").sentence
    assert (tmp_path / "a.jsonl").read_bytes() == orjson.dumps(EVENT)


def test_an_unreadable_file_is_told(run: Run, tmp_path: Path) -> None:
    (tmp_path / "loop.jsonl").symlink_to("loop.jsonl")
    assert "loop.jsonl" in run("replay", "loop.jsonl").sentence


def test_simulate_lists_the_thefts(run: Run) -> None:
    said = run("simulate", "--theft", "list")
    assert said.code == 0
    assert re.search(r"^burst +Full spend", said.out, re.MULTILINE)


def test_simulated_traffic_can_be_replayed(run: Run) -> None:
    run("simulate", "--out", "a.jsonl", "--minutes", "3", "--keys", "4", "--theft", "burst")
    said = run("replay", "a.jsonl", "--closed-loop", "--out", "b.jsonl")
    assert said.code == 0
    assert "could not be taken" not in said.err


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (UserError("do this"), "do this"),
        (Unreachable("no answer"), "no answer; check store.dsn in keyfuse.yaml and that ClickHouse runs"),
        (Rejected("wrong password"), "wrong password"),
        (BrokerDown("gone"), "gone; check kafka.bootstrap in keyfuse.yaml and that the broker runs"),
        (
            KafkaConnectionError("nobody answers"),  # it went away while the worker was starting
            "KafkaConnectionError: nobody answers; check kafka.bootstrap in keyfuse.yaml and that the broker runs",
        ),
        (BrokerError("no program"), "no program"),
        (Refused("ops", Reason.MISCONFIGURED, "no secret"), "channel ops: misconfigured: no secret"),
        (PermissionError(13, "Permission denied", "x.yaml"), "x.yaml: Permission denied"),
        (ExceptionGroup("tasks", [BrokerError("no program")]), "no program"),
        (ValueError("a mistake of ours"), None),
        (ConnectionResetError("somewhere"), None),
        (ExceptionGroup("tasks", [BrokerError("no program"), ValueError("ours")]), None),
    ],
)
def test_what_people_can_mend_is_told_and_what_we_must_mend_is_not(error: Exception, words: str | None) -> None:
    assert for_people(error) == words


def test_a_mistake_of_ours_shows_its_trace_without_secrets(run: Run, tmp_path: Path) -> None:
    secret = "sk-proj-Ab3dEf6hIj9kLm2nOp5qRs8t"

    @app.command("break-for-test", hidden=True)
    def _() -> None:
        raise RuntimeError(secret)

    try:
        said = run("break-for-test")
    finally:
        app.registered_commands.pop()
    assert said.code == 1
    assert "mistake in Keyfuse" in said.err
    assert "RuntimeError" in said.err
    assert secret not in said.err


def test_a_note_of_a_process_that_is_gone_is_ignored(run: Run, tmp_path: Path) -> None:
    (tmp_path / ".keyfuse").mkdir()
    Running("127.0.0.1:1", "http://127.0.0.1:1", 2**22 + 1).write(tmp_path / ".keyfuse")
    assert "nothing runs in" in run("simulate", "--to", "kafka", "--minutes", "1").sentence
