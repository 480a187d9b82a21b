"""The two brokers that the integration tests run on: Tansu, embedded, and Apache Kafka, from Maven Central."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from string import Template
from xml.etree import ElementTree

from service.tansu import Tansu, end, free_port, spawn_tied, wait_until_answers

ROOT = Path(__file__).resolve().parents[1]
_KAFKA = ROOT / "deploy" / "kafka"
_MAVEN_TIMEOUT_S = 300.0
_KAFKA_START_TIMEOUT_S = 60.0
_KAFKA_STOP_GRACE_S = 10.0


class NoKafkaError(RuntimeError):
    """Apache Kafka cannot run on this machine; the message is the one line that says why."""


@dataclass(frozen=True)
class Broker:
    """A running broker."""

    name: str
    bootstrap: str
    log_path: Path
    node: KafkaNode | None = None  # to stop it and start it again, of Apache Kafka alone

    def log_tail(self, *, lines: int = 60) -> str:
        """The end of what it printed."""
        text = self.log_path.read_text(encoding="utf-8", errors="replace") if self.log_path.exists() else ""
        return "\n".join(text.splitlines()[-lines:])


class KafkaNode:
    """One Apache Kafka that may be stopped and started again, with what it holds."""

    def __init__(self, command: list[str], bootstrap: str, log_path: Path) -> None:
        self._command, self._bootstrap, self._log_path = command, bootstrap, log_path
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Returns when it answers."""
        self._process = spawn_tied(self._command, log_path=self._log_path)
        await wait_until_answers(self._bootstrap, self._process, timeout_s=_KAFKA_START_TIMEOUT_S)

    def stop(self) -> None:
        """Blocking."""
        if self._process is not None:
            end(self._process, grace_s=_KAFKA_STOP_GRACE_S)

    def kill(self) -> None:
        """At once, with whatever it was about to say. Blocking."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            end(self._process)  # closes the lifeline


@contextmanager
def running_tansu(directory: Path) -> Iterator[Broker]:
    """Tansu for as long as the context lasts."""
    tansu = Tansu(log_path=directory / "tansu.log")
    asyncio.run(tansu.start())
    try:
        yield Broker("tansu", tansu.bootstrap, tansu.log_path)
    finally:
        asyncio.run(tansu.stop())


@contextmanager
def running_kafka(directory: Path) -> Iterator[Broker]:
    """One Apache Kafka node for as long as the context lasts.

    Raises:
        NoKafkaError: no Java, no Maven, or Maven cannot resolve it.
    """
    java = _needed("java")
    classpath = f"{_KAFKA}{os.pathsep}{kafka_libraries()}{os.sep}*"
    port, properties, log_path = free_port(), directory / "server.properties", directory / "kafka.log"
    template = Template((_KAFKA / "server.properties").read_text(encoding="utf-8"))
    properties.write_text(
        template.substitute(port=port, controller_port=free_port(), data_dir=directory / "data"), encoding="utf-8"
    )
    # A leading letter: the storage tool would take an id that begins with a dash for an option.
    cluster_id = "k" + urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")[1:]
    format_storage = ["kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(properties)]
    # It lives for minutes: what the better compiler costs is not earned back.
    run = [java, "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xms256m", "-Xmx512m", "-cp", classpath]
    subprocess.run([*run, *format_storage], check=True, capture_output=True, timeout=60)
    command = [*run, "kafka.Kafka", str(properties)]
    node = KafkaNode(command, f"127.0.0.1:{port}", log_path)
    try:
        asyncio.run(node.start())
        yield Broker("kafka", f"127.0.0.1:{port}", log_path, node)
    finally:
        node.stop()


def kafka_libraries() -> Path:
    """The folder with Kafka's jars; resolved once per version, whole or not at all.

    Raises:
        NoKafkaError: it is not there yet and Maven is missing or fails.
    """
    libraries = ROOT / ".cache" / "kafka" / _kafka_version() / "libs"
    if libraries.is_dir():
        return libraries
    maven = _needed("mvn")
    libraries.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=libraries.parent) as unfinished:
        target = Path(unfinished) / "libs"
        goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={target}"]
        done = subprocess.run(
            [maven, "-q", "-B", "-f", str(_KAFKA / "pom.xml"), *goal],
            check=False,
            capture_output=True,
            text=True,
            timeout=_MAVEN_TIMEOUT_S,
        )
        if done.returncode != 0:
            raise NoKafkaError(f"Maven cannot resolve Apache Kafka: {_first_line(done.stdout + done.stderr)}")
        _move_into_place(target, libraries)
    return libraries


def _move_into_place(target: Path, libraries: Path) -> None:
    try:
        target.rename(libraries)
    except OSError:
        if not libraries.is_dir():  # otherwise another test run was faster, with the same jars
            raise


def _kafka_version() -> str:
    version = ElementTree.parse(_KAFKA / "pom.xml").findtext(".//{*}kafka.version")
    if version is None:
        raise NoKafkaError("deploy/kafka/pom.xml names no kafka.version")
    return version


def _needed(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        raise NoKafkaError(f"`{program}` is not installed (Java 17 and Maven are needed)")
    return path


def _first_line(output: str) -> str:
    return next((line for line in output.splitlines() if line.strip()), "no output")
