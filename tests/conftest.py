"""Brokers for the integration tests. A failed test shows the end of its broker's log."""

from __future__ import annotations

import os
import secrets
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from storage.testing import end_engine
from tests.brokers import Broker, NoKafkaError, running_kafka, running_tansu


@pytest.fixture(scope="session")
def tansu_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """Tansu, started once."""
    with running_tansu(tmp_path_factory.mktemp("tansu")) as broker:
        yield broker


@pytest.fixture(scope="session")
def kafka_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """Apache Kafka, started once."""
    with kafka_or_skip(tmp_path_factory.mktemp("kafka")) as broker:
        yield broker


@contextmanager
def kafka_or_skip(directory: Path) -> Iterator[Broker]:
    """An Apache Kafka. Skips where it cannot run, unless REQUIRE_KAFKA=1 makes that a failure."""
    try:
        with running_kafka(directory) as broker:
            yield broker
    except NoKafkaError as missing:
        if os.environ.get("REQUIRE_KAFKA") == "1":
            pytest.fail(f"REQUIRE_KAFKA=1, but {missing}", pytrace=False)
        pytest.skip(f"no Apache Kafka: {missing}")


@pytest.fixture(params=["tansu", pytest.param("kafka", marks=pytest.mark.kafka)])
def broker(request: pytest.FixtureRequest) -> Broker:
    """Each broker in turn, so that one suite holds for both."""
    found: Broker = request.getfixturevalue(f"{request.param}_broker")
    return found


@pytest.fixture(scope="module", autouse=True)
def stores_end_with_their_module() -> Iterator[None]:
    yield
    end_engine()


@pytest.fixture
def prefix() -> str:
    """Begins the names of a test's topics and groups, so that tests can share a broker."""
    return f"t{secrets.token_hex(4)}."


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        for value in getattr(item, "funcargs", {}).values():
            if isinstance(value, Broker):
                report.sections.append((f"log of {value.name}", value.log_tail()))
    return report
