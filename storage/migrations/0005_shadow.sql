-- What a candidate version of the detectors said beside the one in force. The ids are those that the one in force would
-- have given, so that both can be compared; nothing else reads this table.
CREATE TABLE IF NOT EXISTS findings_shadow
(
    finding_id String,
    at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    key_id LowCardinality(String),
    family LowCardinality(String),
    detector LowCardinality(String),
    severity LowCardinality(String),
    score Float64,
    record String CODEC(ZSTD(3))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(at)
ORDER BY (key_id, at, finding_id)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;
