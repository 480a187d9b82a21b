-- One row per accepted use of a key. Money is whole nano-dollars, so that sums are exact.
--
-- Order: a person asks about one key and a stretch of time, so the key comes first and its time, in steps of five
-- minutes, follows. The rows of one key in one step then differ by event_id alone, and of those with the same event_id
-- the last one wins (`position` grows along the frame log). Days are parts of their own, so that old ones are dropped
-- whole.
--
-- The deduplication window makes a repeated insert with the same token harmless. It is off by default for a plain
-- MergeTree, and every rollup needs its own. Inserts are synced to disk, because the offset commit that follows says
-- that they are safe.
CREATE TABLE IF NOT EXISTS usage_events
(
    key_id LowCardinality(String) CODEC(ZSTD(1)),
    ts DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    event_id String CODEC(ZSTD(1)),
    event_hash UInt64 CODEC(NONE),
    provider LowCardinality(String) CODEC(ZSTD(1)),
    model LowCardinality(String) CODEC(ZSTD(1)),
    endpoint LowCardinality(String) CODEC(ZSTD(1)),
    requests Int64 CODEC(T64, ZSTD(1)),
    input_tokens Int64 CODEC(T64, ZSTD(1)),
    cached_input_tokens Int64 CODEC(T64, ZSTD(1)),
    cache_write_tokens Int64 CODEC(T64, ZSTD(1)),
    output_tokens Int64 CODEC(T64, ZSTD(1)),
    reasoning_tokens Int64 CODEC(T64, ZSTD(1)),
    cost_nano_usd Int64 CODEC(T64, ZSTD(1)),
    priced Bool CODEC(ZSTD(1)),
    status Int16 CODEC(ZSTD(1)),
    error LowCardinality(String) CODEC(ZSTD(1)),
    latency_ms Nullable(Float32) CODEC(ZSTD(1)),
    ip String CODEC(ZSTD(1)),
    network String CODEC(ZSTD(1)),
    country LowCardinality(String) CODEC(ZSTD(1)),
    asn UInt32 CODEC(ZSTD(1)),
    user_agent String CODEC(ZSTD(1)),
    user_id String CODEC(ZSTD(1)),
    team LowCardinality(String) CODEC(ZSTD(1)),
    app LowCardinality(String) CODEC(ZSTD(1)),
    env LowCardinality(String) CODEC(ZSTD(1)),
    -- 1: the same event was counted before. Kept here, so that the last word on it wins; left out of the rollups.
    retry UInt8 CODEC(ZSTD(1)),
    frame_partition UInt16 CODEC(ZSTD(1)),
    -- When this frame log began (ms). A broker that lost its memory starts again at offset 0; positions go on growing.
    log_start UInt64 CODEC(ZSTD(1)),
    position UInt64 CODEC(Delta, ZSTD(1)),
    raw_partition UInt16 CODEC(ZSTD(1)),
    raw_coord UInt64 CODEC(Delta, ZSTD(1)),
    frame_offset UInt64 ALIAS bitShiftRight(position, 20) - log_start,
    frame_row UInt32 ALIAS bitAnd(position, 1048575),
    raw_offset UInt64 ALIAS bitShiftRight(raw_coord, 20),
    raw_index UInt32 ALIAS bitAnd(raw_coord, 1048575)
)
ENGINE = ReplacingMergeTree(position)
PARTITION BY toYYYYMMDD(ts)
ORDER BY (key_id, toStartOfFiveMinutes(ts), event_id)
SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 10000, fsync_after_insert = 1,
    fsync_part_directory = 1, replicated_deduplication_window = 10000,
    replicated_deduplication_window_seconds = 604800;
