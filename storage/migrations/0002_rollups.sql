-- What screens read: use per minute and per hour, counted at insert. Retries of a producer are not counted.
CREATE TABLE IF NOT EXISTS usage_minute
(
    at DateTime('UTC') CODEC(Delta, ZSTD(1)),
    key_id LowCardinality(String) CODEC(ZSTD(1)),
    provider LowCardinality(String) CODEC(ZSTD(1)),
    model LowCardinality(String) CODEC(ZSTD(1)),
    team LowCardinality(String) CODEC(ZSTD(1)),
    app LowCardinality(String) CODEC(ZSTD(1)),
    env LowCardinality(String) CODEC(ZSTD(1)),
    events SimpleAggregateFunction(sum, UInt64) CODEC(T64, ZSTD(1)),
    requests SimpleAggregateFunction(sum, Int64) CODEC(T64, ZSTD(1)),
    errors SimpleAggregateFunction(sum, Int64) CODEC(T64, ZSTD(1)),
    unpriced SimpleAggregateFunction(sum, Int64) CODEC(T64, ZSTD(1)),
    input_tokens SimpleAggregateFunction(sum, Int64) CODEC(T64, ZSTD(1)),
    cached_input_tokens SimpleAggregateFunction(sum, Int64) CODEC(T64, ZSTD(1)),
    cache_write_tokens SimpleAggregateFunction(sum, Int64) CODEC(T64, ZSTD(1)),
    output_tokens SimpleAggregateFunction(sum, Int64) CODEC(T64, ZSTD(1)),
    reasoning_tokens SimpleAggregateFunction(sum, Int64) CODEC(T64, ZSTD(1)),
    cost_nano_usd SimpleAggregateFunction(sum, Int64) CODEC(T64, ZSTD(1)),
    last_seen SimpleAggregateFunction(max, DateTime64(3, 'UTC')) CODEC(Delta, ZSTD(1)),
    networks AggregateFunction(uniqCombined(12), String) CODEC(ZSTD(1))
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMMDD(at)
ORDER BY (key_id, at, provider, model, team, app, env)
SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 10000, fsync_after_insert = 1,
    fsync_part_directory = 1, replicated_deduplication_window = 10000,
    replicated_deduplication_window_seconds = 604800;

CREATE TABLE IF NOT EXISTS usage_hour AS usage_minute
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(at)
ORDER BY (key_id, at, provider, model, team, app, env)
SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 10000, fsync_after_insert = 1,
    fsync_part_directory = 1, replicated_deduplication_window = 10000,
    replicated_deduplication_window_seconds = 604800;

CREATE MATERIALIZED VIEW IF NOT EXISTS usage_minute_from_events TO usage_minute AS
SELECT
    toStartOfMinute(e.ts) AS at,
    e.key_id AS key_id, e.provider AS provider, e.model AS model, e.team AS team, e.app AS app, e.env AS env,
    count() AS events,
    sum(e.requests) AS requests,
    sumIf(e.requests, e.status >= 400 OR e.error != '') AS errors,
    sumIf(e.requests, NOT e.priced) AS unpriced,
    sum(e.input_tokens) AS input_tokens,
    sum(e.cached_input_tokens) AS cached_input_tokens,
    sum(e.cache_write_tokens) AS cache_write_tokens,
    sum(e.output_tokens) AS output_tokens,
    sum(e.reasoning_tokens) AS reasoning_tokens,
    sum(e.cost_nano_usd) AS cost_nano_usd,
    max(e.ts) AS last_seen,
    uniqCombinedStateIf(12)(e.network, e.network != '') AS networks
FROM usage_events AS e
WHERE e.retry = 0
GROUP BY at, key_id, provider, model, team, app, env;

CREATE MATERIALIZED VIEW IF NOT EXISTS usage_hour_from_minutes TO usage_hour AS
SELECT
    toStartOfHour(m.at) AS at,
    m.key_id AS key_id, m.provider AS provider, m.model AS model, m.team AS team, m.app AS app, m.env AS env,
    sum(m.events) AS events,
    sum(m.requests) AS requests,
    sum(m.errors) AS errors,
    sum(m.unpriced) AS unpriced,
    sum(m.input_tokens) AS input_tokens,
    sum(m.cached_input_tokens) AS cached_input_tokens,
    sum(m.cache_write_tokens) AS cache_write_tokens,
    sum(m.output_tokens) AS output_tokens,
    sum(m.reasoning_tokens) AS reasoning_tokens,
    sum(m.cost_nano_usd) AS cost_nano_usd,
    max(m.last_seen) AS last_seen,
    uniqCombinedMergeState(12)(m.networks) AS networks
FROM usage_minute AS m
GROUP BY toStartOfHour(m.at), key_id, provider, model, team, app, env;
