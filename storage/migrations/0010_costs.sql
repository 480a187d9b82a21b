-- Who owned a key from when on, as keys.yaml and the issued keys say it: the archive writes a row when it changes.
-- The first row of a key reaches back to 1970: whoever owns it now answers for what it used before it was registered.
CREATE TABLE IF NOT EXISTS key_owners
(
    key_id LowCardinality(String),
    since DateTime64(3, 'UTC'),
    team LowCardinality(String),
    app LowCardinality(String),
    env LowCardinality(String),
    owner String,
    written_at DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree
ORDER BY (key_id, since)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;

-- Every use that was accepted, once: what `keyfuse costs`, finance and security all read, one row an event.
--
-- An event that its producer sent again counts once, with its last word: of rows of the same key and event at most 15
-- minutes apart (in steps of five, as the archive counts) the one that came last. Only rows with the hash of an event that
-- was sent again are compared. Days whose events the retention has dropped come from the hourly rollup: without user, and
-- with the first word where a producer changed its mind.
--
-- Whose it is: as the key was registered at that time, else as the event says. `app` may carry a feature tag behind a
-- slash: `web/search` is the feature `search` of the app `web`.
CREATE VIEW IF NOT EXISTS costs AS
WITH
    overtaken AS
    (
        SELECT event_hash, position FROM
        (
            SELECT event_hash, position, max(position) OVER (
                PARTITION BY key_id, event_hash ORDER BY toUnixTimestamp(toStartOfFiveMinutes(ts))
                RANGE BETWEEN 900 PRECEDING AND 900 FOLLOWING) AS last_word
            FROM usage_events
            WHERE event_hash IN (SELECT event_hash FROM usage_events WHERE retry = 1)
        )
        WHERE position < last_word
    ),
    uses AS
    (
        SELECT ts, key_id, provider, model, team, app, env, user_id, requests,
            if(status >= 400 OR error != '', requests, 0) AS errors, if(priced, 0, requests) AS unpriced,
            input_tokens, cached_input_tokens, cache_write_tokens, output_tokens, reasoning_tokens, cost_nano_usd,
            1 AS events
        FROM usage_events FINAL
        WHERE (event_hash, position) NOT IN overtaken
        UNION ALL
        SELECT toDateTime64(at, 3, 'UTC'), key_id, provider, model, team, app, env, '', requests, errors, unpriced,
            input_tokens, cached_input_tokens, cache_write_tokens, output_tokens, reasoning_tokens, cost_nano_usd,
            toInt64(events)
        FROM usage_hour
        WHERE toYYYYMMDD(at) NOT IN (SELECT toUInt32(_partition_id) FROM usage_events GROUP BY _partition_id)
    )
SELECT
    u.ts AS ts, u.key_id AS key_id, u.provider AS provider, u.model AS model,
    multiIf(o.team NOT IN ('', 'unknown'), o.team, u.team != '', u.team, 'unknown') AS team,
    splitByChar('/', multiIf(o.app NOT IN ('', 'unknown'), o.app, u.app != '', u.app, 'unknown'))[1] AS app,
    multiIf(
        position(u.app, '/') > 0, substring(u.app, position(u.app, '/') + 1),
        position(o.app, '/') > 0, substring(o.app, position(o.app, '/') + 1), '') AS feature,
    multiIf(o.env NOT IN ('', 'unknown'), o.env, u.env != '', u.env, 'unknown') AS env,
    o.owner AS owner,
    u.user_id AS user_id, u.events AS events, u.requests AS requests, u.errors AS errors, u.unpriced AS unpriced,
    u.input_tokens AS input_tokens, u.cached_input_tokens AS cached_input_tokens,
    u.cache_write_tokens AS cache_write_tokens, u.output_tokens AS output_tokens,
    u.reasoning_tokens AS reasoning_tokens, u.cost_nano_usd AS cost_nano_usd
FROM uses AS u
ASOF LEFT JOIN key_owners AS o ON u.key_id = o.key_id AND u.ts >= o.since;
