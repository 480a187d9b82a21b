-- What is to be done after incidents: every version of each follow-up. The newest holds, all of them are its history.
CREATE TABLE IF NOT EXISTS follow_ups
(
    follow_up_id String,
    seq UInt32,
    at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    state LowCardinality(String),
    incident_id String,
    key_id LowCardinality(String),
    owner LowCardinality(String),
    by LowCardinality(String),
    due Nullable(DateTime64(3, 'UTC')),
    record String CODEC(ZSTD(3))
)
ENGINE = ReplacingMergeTree
ORDER BY (follow_up_id, seq, at)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;
