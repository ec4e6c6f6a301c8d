-- One row for each execution of a run, as the runner completed it. Columns are named as in RunCompleted: a record's own
-- bytes are inserted, and the engine checks what it reads. accepted_at never changes, so a row delivered again falls into
-- the same partition and replaces itself. A repriced row carries a higher version.
CREATE TABLE IF NOT EXISTS runs (
    workspace_id UUID,
    run_id UUID,
    execution_id UUID,
    accepted_at Int64 COMMENT 'UTC milliseconds, as every *_at',
    completed_at Int64,
    status Enum8('succeeded' = 1, 'failed' = 2, 'cancelled' = 3, 'expired' = 4),
    user LowCardinality(String),
    operation LowCardinality(String),
    provider LowCardinality(String),
    model LowCardinality(String) COMMENT 'as requested',
    served_model LowCardinality(String),
    service_tier LowCardinality(String),
    finish_reason LowCardinality(String),
    prompt_id String,
    labels Map(LowCardinality(String), String),
    batch_id String,
    custom_id String,
    truncated Bool,
    usage Tuple(input UInt64, output UInt64, cached UInt64, cache_writes UInt64, reasoning UInt64),
    cost Tuple(
        priced Bool,
        total Nullable(Decimal(38, 18)),
        components Map(LowCardinality(String), Decimal(38, 18)),
        catalogue LowCardinality(String)
    ),
    error Tuple(code LowCardinality(String), message String),
    attempts String COMMENT 'JSON, as received',
    latency_ms UInt64,
    queued_ms UInt64,
    key_id UUID COMMENT 'zeros: the run ended before it had a key',
    key_version UInt32,
    version UInt64,
    hour DateTime('UTC') MATERIALIZED toStartOfHour(toDateTime(intDiv(accepted_at, 1000), 'UTC')),
    INDEX run_id run_id TYPE bloom_filter GRANULARITY 1,
    CONSTRAINT priced_has_a_total CHECK NOT cost.priced OR cost.total IS NOT NULL,
    -- A million dollars for one call is a mistake, and so are 2^40 tokens; unbounded, one row could overflow the sums.
    CONSTRAINT plausible_cost CHECK ifNull(cost.total, 0) >= 0 AND ifNull(cost.total, 0) < 1000000,
    CONSTRAINT plausible_usage CHECK
        greatest(usage.input, usage.output, usage.cached, usage.cache_writes, usage.reasoning) <= 1099511627776
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(hour)
PRIMARY KEY (workspace_id, hour)
ORDER BY (workspace_id, hour, run_id, execution_id)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

-- Runs as they were accepted: who asked for what, without the text.
CREATE TABLE IF NOT EXISTS accepted (
    workspace_id UUID,
    run_id UUID,
    accepted_at Int64,
    deadline Int64,
    user LowCardinality(String),
    operation LowCardinality(String),
    provider LowCardinality(String),
    model LowCardinality(String),
    prompt_id String,
    labels Map(LowCardinality(String), String),
    batch_id String,
    custom_id String,
    key_id UUID,
    hour DateTime('UTC') MATERIALIZED toStartOfHour(toDateTime(intDiv(accepted_at, 1000), 'UTC')),
    INDEX run_id run_id TYPE bloom_filter GRANULARITY 1
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(hour)
PRIMARY KEY (workspace_id, hour)
ORDER BY (workspace_id, hour, run_id)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

-- What was said. It expires by whole days; the default of retention_days is set at each start (retain_texts.sql).
CREATE TABLE IF NOT EXISTS run_texts (
    workspace_id UUID,
    run_id UUID,
    execution_id UUID,
    accepted_at Int64,
    output Nullable(String),
    response Nullable(String),
    prompt_preview String,
    retention_days UInt16 DEFAULT 90,
    hour DateTime('UTC') MATERIALIZED toStartOfHour(toDateTime(intDiv(accepted_at, 1000), 'UTC')),
    expires_on Date MATERIALIZED toDate(hour) + retention_days
)
ENGINE = ReplacingMergeTree
PARTITION BY expires_on
PRIMARY KEY (workspace_id, hour)
ORDER BY (workspace_id, hour, run_id, execution_id)
TTL expires_on DELETE
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1;
