-- Hours whose usage must be recomputed. A mark is set by a row of sign 1 and cleared by one of sign -1, so that clearing
-- takes exactly the marks that were read, and never one set meanwhile. `fresh`: not counted yet. `settling`: counted,
-- and to be counted once more a minute later.
CREATE TABLE IF NOT EXISTS dirty_hours (
    workspace_id UUID,
    hour DateTime('UTC'),
    state Enum8('fresh' = 1, 'settling' = 2),
    mark UUID,
    marked_at Int64,
    appended_at Int64 COMMENT 'of the oldest record behind the mark',
    sign Int8
)
ENGINE = CollapsingMergeTree(sign)
ORDER BY (workspace_id, hour, state, mark)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

-- Usage is recomputed, never incremented: the highest version of a group is its truth.
-- runs count run ids, by the execution that completed first; everything else counts every execution.
CREATE TABLE IF NOT EXISTS usage_hours (
    workspace_id UUID,
    hour DateTime('UTC'),
    provider LowCardinality(String),
    model LowCardinality(String),
    key_id UUID,
    runs UInt64,
    executions UInt64,
    succeeded UInt64 COMMENT 'runs',
    failed UInt64 COMMENT 'runs that ended otherwise: failed, cancelled or expired',
    unpriced UInt64 COMMENT 'runs with an execution whose cost is unknown',
    input_tokens UInt64,
    output_tokens UInt64,
    cached_tokens UInt64,
    cache_write_tokens UInt64,
    reasoning_tokens UInt64,
    cost Decimal(38, 18),
    latency_ms UInt64 COMMENT 'sum over succeeded runs',
    last_completed_at Int64,
    version UInt64
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(hour)
ORDER BY (workspace_id, hour, provider, model, key_id)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS usage_days (
    workspace_id UUID,
    day Date,
    provider LowCardinality(String),
    model LowCardinality(String),
    key_id UUID,
    runs UInt64,
    executions UInt64,
    succeeded UInt64,
    failed UInt64,
    unpriced UInt64,
    input_tokens UInt64,
    output_tokens UInt64,
    cached_tokens UInt64,
    cache_write_tokens UInt64,
    reasoning_tokens UInt64,
    cost Decimal(38, 18),
    latency_ms UInt64,
    last_completed_at Int64,
    version UInt64
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYear(day)
ORDER BY (workspace_id, day, provider, model, key_id)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

-- The costliest prompts of each day; prompt_id '' is all the others together.
CREATE TABLE IF NOT EXISTS usage_prompts (
    workspace_id UUID,
    day Date,
    prompt_id String,
    runs UInt64,
    executions UInt64,
    unpriced UInt64,
    cost Decimal(38, 18),
    last_accepted_at Int64,
    last_run_id UUID,
    version UInt64
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYear(day)
ORDER BY (workspace_id, day, prompt_id)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;
