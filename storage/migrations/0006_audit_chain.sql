-- The audit as a chain: see schemas/audit_chain.py. Rows from before have no chain; a row that comes without one after
-- this file was applied did not come through the archive.
ALTER TABLE audit ADD COLUMN IF NOT EXISTS chain LowCardinality(String) DEFAULT '';
ALTER TABLE audit ADD COLUMN IF NOT EXISTS seq UInt64 DEFAULT 0;
ALTER TABLE audit ADD COLUMN IF NOT EXISTS prev_hash String DEFAULT '';
ALTER TABLE audit ADD COLUMN IF NOT EXISTS hash String DEFAULT '';

-- Where each chain stood from time to time. Two archives that say the same of one row replace each other; signed and
-- unsigned ones stay side by side.
CREATE TABLE IF NOT EXISTS audit_heads
(
    chain LowCardinality(String),
    seq UInt64,
    hash String,
    at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    public_key String,
    record String CODEC(ZSTD(3))
)
ENGINE = ReplacingMergeTree
ORDER BY (chain, seq, hash, public_key)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;
