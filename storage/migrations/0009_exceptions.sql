-- Exceptions from policies and budgets (ADR 0022): every version of each. The newest holds, all of them are its history.
CREATE TABLE IF NOT EXISTS policy_exceptions
(
    exception_id String,
    seq UInt32,
    at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    state LowCardinality(String),
    rule LowCardinality(String),
    rule_of LowCardinality(String),
    by LowCardinality(String),
    approved_by LowCardinality(String),
    from_time DateTime64(3, 'UTC'),
    until_time DateTime64(3, 'UTC'),
    record String CODEC(ZSTD(3))
)
ENGINE = ReplacingMergeTree
ORDER BY (exception_id, seq, at)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;
