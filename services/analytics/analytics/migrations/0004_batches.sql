-- The executions of batches once more, in the order in which they lie in the log: a reader of a batch goes on from an
-- offset of each partition, and reads a page side by side instead of all over the hours of `runs`. log_* is where the
-- record lies; the rest is named as in RunCompleted. accepted_at fixes a row's partition, so a record that is read again
-- replaces itself; an execution that was appended twice has two rows, and the first one counts (batch_rows.sql).
-- A repriced row carries a higher version, here as in `runs`.
CREATE TABLE IF NOT EXISTS batch_runs (
    workspace_id UUID,
    batch_id String,
    log_topic LowCardinality(String),
    log_partition UInt16,
    log_offset UInt64,
    log_bytes UInt32 COMMENT 'of the record: what its texts add to a page at most',
    run_id UUID,
    execution_id UUID,
    custom_id String,
    accepted_at Int64 COMMENT 'UTC milliseconds, as every *_at',
    completed_at Int64,
    status Enum8('succeeded' = 1, 'failed' = 2, 'cancelled' = 3, 'expired' = 4),
    operation LowCardinality(String),
    provider LowCardinality(String),
    model LowCardinality(String) COMMENT 'as requested',
    served_model LowCardinality(String),
    finish_reason LowCardinality(String),
    truncated Bool,
    usage Tuple(input UInt64, output UInt64, cached UInt64, cache_writes UInt64, reasoning UInt64),
    cost Tuple(priced Bool, total Nullable(Decimal(38, 18))),
    error Tuple(code LowCardinality(String), message String, retry_at Nullable(Int64)),
    latency_ms UInt64,
    version UInt64,
    hour DateTime('UTC') MATERIALIZED toStartOfHour(toDateTime(intDiv(accepted_at, 1000), 'UTC'))
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(hour)
ORDER BY (workspace_id, batch_id, log_topic, log_partition, log_offset)
-- A page is a little of each partition: what is read around it is kept small.
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, index_granularity = 1024;

-- Which runs of a batch were accepted is asked without knowing the hours well.
ALTER TABLE accepted ADD INDEX IF NOT EXISTS batch_id batch_id TYPE bloom_filter GRANULARITY 1;

-- Texts lie in the same order within their hour; those of no batch have batch '' and offset 0. `texts` takes the place
-- of `run_texts`, whose order could not be changed. Killed anywhere in between, all of this may be done again.
CREATE TABLE IF NOT EXISTS texts (
    workspace_id UUID,
    run_id UUID,
    execution_id UUID,
    accepted_at Int64,
    batch_id String,
    log_partition UInt16,
    log_offset UInt64,
    output Nullable(String),
    response Nullable(String),
    prompt_preview String,
    retention_days UInt16 DEFAULT 90,
    hour DateTime('UTC') MATERIALIZED toStartOfHour(toDateTime(intDiv(accepted_at, 1000), 'UTC')),
    expires_on Date MATERIALIZED toDate(hour) + retention_days
)
ENGINE = ReplacingMergeTree
PARTITION BY expires_on
PRIMARY KEY (workspace_id, hour, batch_id, log_partition, log_offset)
ORDER BY (workspace_id, hour, batch_id, log_partition, log_offset, run_id, execution_id)
TTL expires_on DELETE
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS run_texts (
    workspace_id UUID,
    run_id UUID,
    execution_id UUID,
    accepted_at Int64,
    output Nullable(String),
    response Nullable(String),
    prompt_preview String,
    retention_days UInt16
)
ENGINE = ReplacingMergeTree
ORDER BY (workspace_id, run_id, execution_id);

INSERT INTO texts (workspace_id, run_id, execution_id, accepted_at, output, response, prompt_preview, retention_days)
SELECT workspace_id, run_id, execution_id, accepted_at, output, response, prompt_preview, retention_days
FROM run_texts;

DROP TABLE run_texts;
