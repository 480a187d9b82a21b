"""Brokers start, answer, and leave nothing behind."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer, ConsumerRecord, TopicPartition

from service.tansu import BrokerError, Tansu, broker_binary, end, free_port, spawn_tied
from streams.kafka import Timing, consumer, lighten
from tests.brokers import ROOT, Broker, NoKafkaError, running_kafka
from tests.integration.faust_engine import create_topics, read_all

PATIENCE_S = 20.0

STARTS_TANSU_AND_IS_KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from service.tansu import Tansu

async def main():
    async with Tansu(log_path=Path(sys.argv[1])) as tansu:
        print(tansu.bootstrap, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


async def until_refused(bootstrap: str) -> None:
    host, port = bootstrap.split(":")
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                _, writer = await asyncio.open_connection(host, int(port))
            except ConnectionError:  # refused, or reset while it was closing
                return
            writer.close()
            await writer.wait_closed()
            await asyncio.sleep(0.02)


async def test_records_that_are_lightened_are_what_the_consumer_would_give(broker: Broker, prefix: str) -> None:
    topic = f"{prefix}light"
    await create_topics(broker.bootstrap, {topic: 1})
    client = AIOKafkaProducer(bootstrap_servers=broker.bootstrap)
    await client.start()
    for number in range(3):
        await client.send_and_wait(topic, b"%d" % number, headers=[("format", b"native")])
    await client.stop()
    reader = consumer(broker.bootstrap, None, f"{prefix}group", timing=Timing())
    await reader.start()
    tp = TopicPartition(topic, 0)
    reader.assign([tp])
    try:
        async with asyncio.timeout(PATIENCE_S):
            (first,) = (await reader.getmany(tp, timeout_ms=10_000, max_records=1))[tp]
            lighten(reader, tp)
            others = (await reader.getmany(tp, timeout_ms=0))[tp]
    finally:
        await reader.stop()
    assert [(each.offset, each.value, list(each.headers)) for each in (first, *others)] == [
        (number, b"%d" % number, [("format", b"native")]) for number in range(3)
    ]
    assert isinstance(first, ConsumerRecord)
    assert not any(isinstance(each, ConsumerRecord) for each in others)


async def test_a_new_topic_is_there_and_empty(broker: Broker, prefix: str) -> None:
    await create_topics(broker.bootstrap, {f"{prefix}new": 1})
    assert await read_all(broker.bootstrap, f"{prefix}new", 0) == []


async def test_tansu_starts_again_after_a_stop_and_forgets_its_topics(tmp_path: Path) -> None:
    tansu = Tansu(log_path=tmp_path / "tansu.log")
    for _ in range(2):
        async with tansu:
            assert tansu.running
            await create_topics(tansu.bootstrap, {"usage.raw": 1})
        assert not tansu.running
        await until_refused(tansu.bootstrap)
    await tansu.stop()


async def test_tansu_does_not_outlive_a_parent_that_was_killed(tmp_path: Path) -> None:
    parent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", STARTS_TANSU_AND_IS_KILLED, str(tmp_path / "tansu.log")),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    said, _ = await asyncio.wait_for(parent.communicate(), PATIENCE_S)
    assert parent.returncode == -signal.SIGKILL
    await until_refused(said.decode().strip())


def test_a_free_port_is_not_given_to_whoever_asks_for_any_before_it_is_used() -> None:
    """The system's own choice would be: another process's next server or connection may get it."""
    given_away: list[int] = []
    with ExitStack() as held:
        for _ in range(50):
            one = held.enter_context(socket.socket())
            one.bind(("127.0.0.1", 0))
            given_away.append(one.getsockname()[1])
    assert free_port() < min(given_away)


def test_a_port_that_is_taken_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", taken := free_port()))
        free = free_port()
        lots = iter([taken - 20_000, free - 20_000])
        monkeypatch.setattr(secrets, "randbelow", lambda _: next(lots))
        assert free_port() == free


def test_where_all_are_taken_the_port_range_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = free_port()
    monkeypatch.setattr(secrets, "randbelow", lambda _: taken - 20_000)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", taken))
        with pytest.raises(OSError, match="no free port found from 20000 to 31999"):
            free_port()


async def test_a_second_tansu_on_the_same_port_says_that_one_answers_there(tmp_path: Path) -> None:
    async with Tansu(log_path=tmp_path / "first.log", port=free_port()) as first:
        port = int(first.bootstrap.split(":")[1])
        second = Tansu(log_path=tmp_path / "second.log", port=port)
        with pytest.raises(BrokerError, match="another broker already answers at"):
            await second.start()
        with pytest.raises(BrokerError, match="already started"):
            await first.start()
        assert first.running


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({"HOME": "/dev/null/nowhere"}, "Set HOME to a writable directory, set CALF_TANSU_BIN"),
        ({"CALF_TANSU_BIN": "/dev/null"}, "no Tansu program for this platform"),
    ],
)
async def test_tansu_that_cannot_be_had_says_what_to_do(
    environment: dict[str, str], reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CALF_TANSU_BIN", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(BrokerError, match=reason):
        await Tansu(log_path=tmp_path / "tansu.log").start()


async def test_a_program_that_ends_before_it_answers_is_told_with_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho no memory left\nexit 3\n", encoding="utf-8")
    broken.chmod(0o755)
    monkeypatch.setenv("CALF_TANSU_BIN", str(broken))
    log_path = tmp_path / "logs" / "tansu.log"
    with pytest.raises(BrokerError, match=r"ended with status 3 before it answered; its log: .*tansu\.log"):
        await Tansu(log_path=log_path).start()
    assert "no memory left" in log_path.read_text(encoding="utf-8")


def test_a_program_deaf_to_sigterm_is_killed_with_its_whole_group(tmp_path: Path) -> None:
    log_path = tmp_path / "deaf.log"
    process = spawn_tied(["/bin/sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done"], log_path=log_path)
    until_logged(log_path, "ready")
    assert end(process, grace_s=0.2) == -signal.SIGKILL
    assert end(process, grace_s=0.2) == -signal.SIGKILL
    until_group_is_gone(process)


def test_a_program_that_obeys_ends_with_its_own_status(tmp_path: Path) -> None:
    log_path = tmp_path / "polite.log"
    process = spawn_tied(
        ["/bin/sh", "-c", "trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done"], log_path=log_path
    )
    until_logged(log_path, "ready")
    assert end(process) == 7
    until_group_is_gone(process)


def until_logged(log_path: Path, text: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while text not in log_path.read_text(encoding="utf-8"):
        assert time.monotonic() < deadline, f"{log_path} never said {text!r}"
        time.sleep(0.01)


def until_group_is_gone(process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return
        assert time.monotonic() < deadline, "processes are left"
        time.sleep(0.01)


def test_the_binary_is_a_program() -> None:
    assert os.access(broker_binary(), os.X_OK)


def test_the_log_tail_is_the_end_of_the_log(tmp_path: Path) -> None:
    log_path = tmp_path / "broker.log"
    broker = Broker("tansu", "127.0.0.1:1", log_path)
    assert broker.log_tail() == ""
    log_path.write_text("one\ntwo\nthree\n", encoding="utf-8")
    assert broker.log_tail(lines=2) == "two\nthree"


def test_without_java_kafka_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NoKafkaError, match="`java` is not installed"), running_kafka(tmp_path):
        pass


@pytest.mark.parametrize(("required", "outcome"), [("", "1 skipped"), ("1", "1 error")])
def test_without_java_kafka_tests_are_skipped_unless_they_are_required(
    required: str, outcome: str, tmp_path: Path
) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"{__file__}::{KAFKA_TEST}"],
        cwd=ROOT,
        env={**os.environ, "PATH": str(tmp_path), "REQUIRE_KAFKA": required, "PYTEST_ADDOPTS": ""},
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert outcome in ran.stdout
    assert "`java` is not installed (Java 17 and Maven are needed)" in ran.stdout


KAFKA_TEST = "test_a_new_topic_is_there_and_empty[kafka]"
