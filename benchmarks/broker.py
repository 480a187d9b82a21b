"""The broker that benchmarks measure on."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

from benchmarks.machine import first_in_line
from tests.brokers import ROOT, NoKafkaError, running_kafka, running_tansu

PARTITIONS: Final = 4


@dataclass(frozen=True)
class RunningBroker:
    """What the records are in."""

    bootstrap: str
    name: str
    version: str
    note: str


@contextmanager
def running_broker() -> Iterator[RunningBroker]:
    """Apache Kafka; where it cannot run, Tansu, with a note that says why."""
    with tempfile.TemporaryDirectory() as directory, ExitStack() as running:
        try:
            with first_in_line():
                broker = running.enter_context(running_kafka(Path(directory)))
            version = ElementTree.parse(ROOT / "deploy" / "kafka" / "pom.xml").findtext(".//{*}kafka.version")
            found = RunningBroker(broker.bootstrap, "Apache Kafka", version or "", "")
        except NoKafkaError as missing:
            with first_in_line():
                broker = running.enter_context(running_tansu(Path(directory)))
            found = RunningBroker(broker.bootstrap, "Tansu", "embedded", f"not on Apache Kafka: {missing}")
        yield found
