-- What was said of runs: the last word of each. accepted_at never changes, so a run's outcome lies in the run's own hour.
CREATE TABLE IF NOT EXISTS outcomes (
    workspace_id UUID,
    run_id UUID,
    accepted_at Int64 COMMENT 'of the run, UTC milliseconds, as every *_at',
    success Nullable(Bool),
    score Nullable(Decimal(38, 18)),
    note String,
    recorded_at Int64,
    version UInt64,
    hour DateTime('UTC') MATERIALIZED toStartOfHour(toDateTime(intDiv(accepted_at, 1000), 'UTC'))
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(hour)
ORDER BY (workspace_id, hour, run_id)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

-- What input tokens from the provider's cache would have cost more without it: not known of runs before this version.
ALTER TABLE runs
    MODIFY COLUMN cost Tuple(
        priced Bool,
        total Nullable(Decimal(38, 18)),
        components Map(LowCardinality(String), Decimal(38, 18)),
        catalogue LowCardinality(String),
        cache_savings Nullable(Decimal(38, 18))
    ),
    ADD CONSTRAINT IF NOT EXISTS plausible_savings CHECK abs(ifNull(cost.cache_savings, 0)) < 1000000;

-- Of the runs that count: rated are those with a success or a score, scored those with a score, whose sum `score` is.
-- waiting: runs that were accepted and have not ended, with the key of zeros. `until` is their deadline, rounded up to
-- the minute so that there are few of them, `oldest` when the first of those runs was accepted (UTC milliseconds both).
ALTER TABLE usage_hours
    ADD COLUMN IF NOT EXISTS cache_savings Decimal(38, 18) AFTER repeated_unpriced,
    ADD COLUMN IF NOT EXISTS rated UInt64 AFTER cache_savings,
    ADD COLUMN IF NOT EXISTS good_outcomes UInt64 AFTER rated,
    ADD COLUMN IF NOT EXISTS bad_outcomes UInt64 AFTER good_outcomes,
    ADD COLUMN IF NOT EXISTS scored UInt64 AFTER bad_outcomes,
    ADD COLUMN IF NOT EXISTS score Decimal(38, 18) AFTER scored,
    ADD COLUMN IF NOT EXISTS waiting Array(Tuple(until Int64, runs UInt64, oldest Int64)) AFTER score;

ALTER TABLE usage_days
    ADD COLUMN IF NOT EXISTS cache_savings Decimal(38, 18) AFTER repeated_unpriced,
    ADD COLUMN IF NOT EXISTS rated UInt64 AFTER cache_savings,
    ADD COLUMN IF NOT EXISTS good_outcomes UInt64 AFTER rated,
    ADD COLUMN IF NOT EXISTS bad_outcomes UInt64 AFTER good_outcomes,
    ADD COLUMN IF NOT EXISTS scored UInt64 AFTER bad_outcomes,
    ADD COLUMN IF NOT EXISTS score Decimal(38, 18) AFTER scored,
    ADD COLUMN IF NOT EXISTS waiting Array(Tuple(until Int64, runs UInt64, oldest Int64)) AFTER score;

ALTER TABLE usage_prompts
    ADD COLUMN IF NOT EXISTS succeeded UInt64 AFTER executions,
    ADD COLUMN IF NOT EXISTS rated UInt64 AFTER cost,
    ADD COLUMN IF NOT EXISTS good_outcomes UInt64 AFTER rated,
    ADD COLUMN IF NOT EXISTS bad_outcomes UInt64 AFTER good_outcomes,
    ADD COLUMN IF NOT EXISTS scored UInt64 AFTER bad_outcomes,
    ADD COLUMN IF NOT EXISTS score Decimal(38, 18) AFTER scored;

-- Hours in which runs were accepted are counted again, and days of prompts, whose successes were not counted; once more
-- in eleven minutes: until every replica is of this version, one of the version before may count them.
INSERT INTO dirty_hours (workspace_id, hour, state, mark, marked_at, appended_at, sign)
SELECT
    workspace_id, hour, 'fresh', generateUUIDv4(), toUnixTimestamp64Milli(now64(3)) + 600000,
    toUnixTimestamp64Milli(now64(3)), 1
FROM (
    SELECT workspace_id, hour FROM accepted
    UNION DISTINCT
    SELECT workspace_id, toDateTime(day, 'UTC') FROM usage_prompts
)
GROUP BY workspace_id, hour;
