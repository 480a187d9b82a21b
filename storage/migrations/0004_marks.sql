-- What people said of alarms, and what they expect: labels for later backtests. Of several versions of one mark the
-- newest counts, whichever comes last: a repeated delivery must not bring back what was withdrawn.
CREATE TABLE IF NOT EXISTS marks
(
    mark_id String,
    version UInt64,
    at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    verdict LowCardinality(String),
    scope LowCardinality(String),
    key_id LowCardinality(String),
    incident_id String,
    by LowCardinality(String),
    withdrawn Bool,
    record String CODEC(ZSTD(3))
)
ENGINE = ReplacingMergeTree(version)
ORDER BY mark_id
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;
