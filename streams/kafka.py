"""The few Kafka clients the stages share, each with the settings that keep promises: acks from all, no auto-commit."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.consumer.fetcher import FetchResult
from aiokafka.errors import IllegalStateError, KafkaConnectionError, KafkaError, TopicAlreadyExistsError

from streams.errors import BrokerDown
from streams.topics import TopicSpec

MAX_RECORD_BYTES: Final = 6_000_000  # a 5 MB intake body with its envelope


@dataclass(frozen=True)
class Timing:
    """How patient the group members are with each other, and the fetches with the broker."""

    session_timeout_s: float = 8.0  # a killed worker's partitions are free after this
    fetch_wait_ms: int = 100  # how long an empty fetch may hang


# Tansu lets a new member wait for half the session timeout and answers a waiting fetch late.
EMBEDDED: Final = Timing(session_timeout_s=2.0, fetch_wait_ms=20)
_TOPIC_CONFIG: Final = {"max.message.bytes": str(MAX_RECORD_BYTES)}


async def create_topics(bootstrap: str, specs: Iterable[TopicSpec], *, replication_factor: int = 1) -> list[str]:
    """Create the topics that are missing; the names created. BrokerDown when nobody answers."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        await admin.start()
        existing = set(await admin.list_topics())
        missing = [spec for spec in specs if spec.name not in existing]
        if missing:
            await admin.create_topics([_new_topic(spec, replication_factor) for spec in missing])
        return [spec.name for spec in missing]
    except TopicAlreadyExistsError:
        return []  # another worker was faster
    except KafkaError as error:
        raise BrokerDown(f"the broker at {bootstrap} does not answer: {error}") from error
    finally:
        await admin.close()


def _new_topic(spec: TopicSpec, replication_factor: int) -> NewTopic:
    config = _TOPIC_CONFIG | ({"cleanup.policy": "compact"} if spec.compacted else {})
    return NewTopic(spec.name, spec.partitions, replication_factor, topic_configs=config)


def consumer(
    bootstrap: str, topics: str | list[str] | None, group: str, *, timing: Timing, max_records: int = 5000
) -> AIOKafkaConsumer:
    """Reads from the group's committed offset, or from the beginning; the caller commits after success.

    None for `topics` when the caller subscribes by itself.
    """
    names = [topics] if isinstance(topics, str) else topics or []
    return AIOKafkaConsumer(
        *names,
        bootstrap_servers=bootstrap,
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_poll_records=max_records,
        fetch_max_bytes=32_000_000,
        max_partition_fetch_bytes=8_000_000,
        fetch_max_wait_ms=timing.fetch_wait_ms,
        session_timeout_ms=int(timing.session_timeout_s * 1000),
        heartbeat_interval_ms=int(timing.session_timeout_s * 250),
        rebalance_timeout_ms=max(3000, int(timing.session_timeout_s * 1000)),
        metadata_max_age_ms=30_000,
    )


async def at_end(consumer: AIOKafkaConsumer, tps: Sequence[TopicPartition]) -> bool:
    """Whether all that is written has been read."""
    ends = await consumer.end_offsets(list(tps))
    positions = {tp: await consumer.position(tp) for tp in tps}
    return all(positions[tp] >= max(ends[tp], consumer.highwater(tp) or 0) for tp in tps)


async def rewind(consumer: AIOKafkaConsumer) -> None:
    """Back to the committed offsets: a loop that failed must not go on behind what it had read and not finished."""
    for tp in consumer.assignment():
        # A rebalance meanwhile takes partitions away; whoever gets them begins at the commit anyway.
        with suppress(IllegalStateError):
            committed = await consumer.committed(tp)
            if committed is None:
                await consumer.seek_to_beginning(tp)
            else:
                consumer.seek(tp, committed)


async def committed(bootstrap: str, group: str, tp: TopicPartition) -> tuple[int, str]:
    """The group's committed offset and metadata; (0, "") when there is none."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        offsets = await admin.list_consumer_group_offsets(group, partitions=[tp])
    finally:
        await admin.close()
    found = offsets.get(tp)
    return (found.offset, found.metadata or "") if found is not None and found.offset >= 0 else (0, "")


def producer(bootstrap: str, *, linger_ms: int = 0) -> AIOKafkaProducer:
    """Acknowledged by all in-sync replicas; one batch per partition in flight, so order is kept through retries."""
    return AIOKafkaProducer(
        bootstrap_servers=bootstrap,
        acks="all",
        max_request_size=MAX_RECORD_BYTES,
        max_batch_size=1_000_000,
        linger_ms=linger_ms,
        request_timeout_ms=15_000,
    )


async def wait_for_broker(bootstrap: str, *, timeout_s: float = 30) -> None:
    """Returns when the broker answers a metadata request; BrokerDown after `timeout_s`."""
    deadline = asyncio.get_running_loop().time() + timeout_s
    while True:
        admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
        try:
            await admin.start()
            await admin.list_topics()
        except (KafkaConnectionError, KafkaError) as error:
            if asyncio.get_running_loop().time() > deadline:
                raise BrokerDown(f"the broker at {bootstrap} does not answer: {error}") from error
            await asyncio.sleep(0.1)
        else:
            return
        finally:
            await admin.close()


def lighten(consumer: AIOKafkaConsumer, tp: TopicPartition) -> None:
    """What `getmany` gives next of this partition are aiokafka's own records of the batch, with `offset`, `value` and
    `headers`: making a ConsumerRecord of each takes longer than reading it off the wire.
    """
    found = consumer._fetcher._records.get(tp)
    if isinstance(found, FetchResult) and found._partition_records is not None:
        found._partition_records._consumer_record = _as_it_is


def _as_it_is(_tp: TopicPartition, record: object) -> object:
    return record
