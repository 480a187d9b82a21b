-- Issued and changed keys (ADR 0020): every version of each. The newest holds, all of them are the key's history.
CREATE TABLE IF NOT EXISTS key_records
(
    key_id LowCardinality(String),
    seq UInt32,
    at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    by LowCardinality(String),
    state LowCardinality(String),
    kind LowCardinality(String),
    owner LowCardinality(String),
    team LowCardinality(String),
    env LowCardinality(String),
    request_id String,
    record String CODEC(ZSTD(3))
)
ENGINE = ReplacingMergeTree
ORDER BY (key_id, seq, at)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;
