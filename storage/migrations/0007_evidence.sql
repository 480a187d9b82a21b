-- Legal holds (ADR 0018): every version of each, the newest counts.
CREATE TABLE IF NOT EXISTS holds
(
    hold_id String,
    version UInt64,
    at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    incident_id String,
    key_id LowCardinality(String),
    by LowCardinality(String),
    released Bool,
    record String CODEC(ZSTD(3))
)
ENGINE = ReplacingMergeTree
ORDER BY (hold_id, version)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;

-- Which events each hold covers. It follows from `holds` and `incidents` and is written anew when they change; what
-- comes in is compared with it.
CREATE TABLE IF NOT EXISTS hold_scopes
(
    hold_id String,
    version UInt64,
    key_id LowCardinality(String),
    since DateTime64(3, 'UTC'),
    until DateTime64(3, 'UTC'),
    in_force Bool,
    events UInt64
)
ENGINE = ReplacingMergeTree(version)
ORDER BY hold_id
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;

-- Held events, copied: this table has no TTL, and no setting gives it one. Months, not days: it holds few keys.
-- A new column of usage_events goes here as well.
CREATE TABLE IF NOT EXISTS usage_held AS usage_events
ENGINE = ReplacingMergeTree(position)
PARTITION BY toYYYYMM(ts)
ORDER BY (key_id, toStartOfFiveMinutes(ts), event_id)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1,
    replicated_deduplication_window = 10000, replicated_deduplication_window_seconds = 604800;

-- An event that comes late, even one older than the retention, is held as it comes in. Two holds that both cover it
-- make the same row twice, which replaces itself.
CREATE MATERIALIZED VIEW IF NOT EXISTS usage_held_from_events TO usage_held AS
SELECT e.*
FROM usage_events AS e
INNER JOIN (SELECT key_id, since, until FROM hold_scopes FINAL WHERE in_force) AS h ON e.key_id = h.key_id
WHERE e.ts >= h.since AND e.ts < h.until;

-- The configuration that workers followed: each content once, and from when on which.
CREATE TABLE IF NOT EXISTS config_texts
(
    sha256 String,
    file LowCardinality(String),
    record String CODEC(ZSTD(3))
)
ENGINE = ReplacingMergeTree
ORDER BY (sha256, file)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS config_in_force
(
    worker String,
    at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    version LowCardinality(String),
    record String CODEC(ZSTD(3))
)
ENGINE = ReplacingMergeTree
ORDER BY (at, worker)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;

-- What was learned of a key when it was first spoken of.
CREATE TABLE IF NOT EXISTS key_states
(
    key_id LowCardinality(String),
    at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    finding_id String,
    record String CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree
ORDER BY (key_id, at)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;
