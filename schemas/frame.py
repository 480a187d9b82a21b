"""The frame: a batch of usage events as one Arrow record batch. What travels in Kafka and what is scored.

Text columns are dictionary-encoded, so that a consumer resolves each distinct value once per frame. Money is
whole nano-dollars, so that sums do not depend on the order of addition. `raw_partition`, `raw_offset` and
`raw_index` say which record of `usage.raw` a row came from: replays are recognised by them.
"""

from __future__ import annotations

from typing import Final

import pyarrow as pa

_TEXT: Final = pa.dictionary(pa.int32(), pa.string())

FRAME_SCHEMA: Final = pa.schema(
    [
        pa.field("raw_partition", pa.int32(), nullable=False),
        pa.field("raw_offset", pa.int64(), nullable=False),
        pa.field("raw_index", pa.int32(), nullable=False),
        pa.field("event_hash", pa.uint64(), nullable=False),  # of event_id: recognises a producer's own retry
        pa.field("event_id", pa.string(), nullable=False),
        pa.field("ts_ms", pa.int64(), nullable=False),
        pa.field("key_id", _TEXT, nullable=False),
        pa.field("provider", _TEXT, nullable=False),
        pa.field("model", _TEXT, nullable=False),
        pa.field("endpoint", _TEXT),
        pa.field("requests", pa.int64(), nullable=False),
        pa.field("input_tokens", pa.int64(), nullable=False),
        pa.field("cached_input_tokens", pa.int64(), nullable=False),
        pa.field("cache_write_tokens", pa.int64(), nullable=False),
        pa.field("output_tokens", pa.int64(), nullable=False),
        pa.field("reasoning_tokens", pa.int64(), nullable=False),
        pa.field("cost_nano_usd", pa.int64(), nullable=False),
        pa.field("priced", pa.bool_(), nullable=False),  # False: neither given nor in the price table, cost is 0
        pa.field("status", pa.int16(), nullable=False),
        pa.field("error", _TEXT),
        pa.field("latency_ms", pa.float32()),
        pa.field("ip", _TEXT),
        pa.field("network", _TEXT),  # /24 or /48 of ip: what an origin is compared by
        pa.field("country", _TEXT),
        pa.field("asn", pa.uint32()),
        pa.field("user_agent", _TEXT),
        pa.field("user_id", _TEXT),
        pa.field("team", _TEXT),
        pa.field("app", _TEXT),
        pa.field("env", _TEXT),
    ]
)

INDEX_BITS: Final = 20  # a raw record holds at most 2**20 events
# One thread: frames are small, and handing them to a pool costs more than it saves.
_WRITE: Final = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)
_READ: Final = pa.ipc.IpcReadOptions(use_threads=False)


def encode_frame(batch: pa.RecordBatch) -> bytes:
    """One Arrow IPC stream with lz4 buffers."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, FRAME_SCHEMA, options=_WRITE) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue())


def decode_frame(data: bytes) -> pa.RecordBatch:
    """The record batch of `encode_frame`; ValueError when the bytes are no frame of this schema."""
    try:
        with pa.ipc.open_stream(pa.py_buffer(data), options=_READ) as reader:
            batch = reader.read_next_batch()
    except (pa.ArrowInvalid, StopIteration, OSError) as error:
        raise ValueError(f"not a frame: {error}") from error
    if not batch.schema.equals(FRAME_SCHEMA):
        raise ValueError("not a frame of this version: its columns differ")
    return batch
