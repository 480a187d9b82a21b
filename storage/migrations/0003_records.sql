-- What the stages said, each record whole as JSON beside the columns that people search by.
-- Delivery is at least once: where an id is stable, a record that comes again replaces itself.
CREATE TABLE IF NOT EXISTS findings
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

-- Every version of every incident; `incidents_now` has the latest of each.
CREATE TABLE IF NOT EXISTS incidents
(
    incident_id String,
    seq UInt32,
    key_id LowCardinality(String),
    state LowCardinality(String),
    severity LowCardinality(String),
    opened_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    updated_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    lost_usd Float64,
    record String CODEC(ZSTD(3))
)
ENGINE = ReplacingMergeTree
ORDER BY (incident_id, seq)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE VIEW IF NOT EXISTS incidents_now AS
SELECT * FROM incidents FINAL ORDER BY seq DESC LIMIT 1 BY incident_id;

CREATE TABLE IF NOT EXISTS commands
(
    command_id String,
    at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    incident_id String,
    key_id LowCardinality(String),
    step LowCardinality(String),
    automatic Bool,
    record String CODEC(ZSTD(3))
)
ENGINE = ReplacingMergeTree(at)
ORDER BY (incident_id, command_id)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;

-- Every state a command went through.
CREATE TABLE IF NOT EXISTS outcomes
(
    command_id String,
    at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    incident_id String,
    key_id LowCardinality(String),
    step LowCardinality(String),
    state LowCardinality(String),
    record String CODEC(ZSTD(3))
)
ENGINE = ReplacingMergeTree
ORDER BY (command_id, at, state)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;

-- Append-only. A row that comes again under the same id changes nothing: the version falls with the time of arrival,
-- so the first one stays.
CREATE TABLE IF NOT EXISTS audit
(
    audit_id String,
    at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    actor LowCardinality(String),
    action LowCardinality(String),
    key_id LowCardinality(String),
    incident_id String,
    command_id String,
    result LowCardinality(String),
    record String CODEC(ZSTD(3)),
    first_wins UInt64 MATERIALIZED 18446744073709551615 - toUInt64(toUnixTimestamp64Micro(now64(6)))
)
ENGINE = ReplacingMergeTree(first_wins)
ORDER BY audit_id
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;

-- Coordinates and the reason, never the content. A broker that lost its memory uses offsets again: size and field tell
-- such letters apart.
CREATE TABLE IF NOT EXISTS dead_letters
(
    topic LowCardinality(String),
    partition UInt16,
    offset UInt64 CODEC(Delta, ZSTD(1)),
    event_index Int32,
    reason LowCardinality(String),
    field LowCardinality(String),
    bytes UInt64 CODEC(T64, ZSTD(1)),
    at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    record String CODEC(ZSTD(3))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(at)
ORDER BY (topic, partition, offset, event_index, reason, field, bytes)
SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 10000, fsync_after_insert = 1,
    fsync_part_directory = 1;
