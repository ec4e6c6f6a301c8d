-- What a run's price was made of besides its usage, model and tier: with it a run can be priced again. '' where the
-- provider reported no usage, or the run was stored before this column was.
-- list_components: what it cost at list price, where a discount made it another; otherwise empty.
ALTER TABLE runs
    ADD COLUMN IF NOT EXISTS price_context String COMMENT 'JSON, as received' AFTER usage,
    ADD COLUMN IF NOT EXISTS list_components Map(LowCardinality(String), Decimal(38, 18)) AFTER cost;

-- Each time an execution was priced again: what it had cost before, and what it costs since. It is written before the
-- row in `runs` is replaced by one of this version, so whoever is killed in between can be finished by anybody:
-- done = 1: replaced, and the hour marked to be counted anew.
CREATE TABLE IF NOT EXISTS repricings (
    workspace_id UUID,
    run_id UUID,
    execution_id UUID,
    accepted_at Int64,
    batch_id String,
    version UInt64,
    repriced_at Int64,
    reason String,
    was Tuple(
        priced Bool,
        total Nullable(Decimal(38, 18)),
        components Map(LowCardinality(String), Decimal(38, 18)),
        catalogue LowCardinality(String),
        cache_savings Nullable(Decimal(38, 18))
    ),
    becomes Tuple(
        priced Bool,
        total Nullable(Decimal(38, 18)),
        components Map(LowCardinality(String), Decimal(38, 18)),
        catalogue LowCardinality(String),
        cache_savings Nullable(Decimal(38, 18))
    ),
    list_components Map(LowCardinality(String), Decimal(38, 18)),
    done UInt8,
    hour DateTime('UTC') MATERIALIZED toStartOfHour(toDateTime(intDiv(accepted_at, 1000), 'UTC'))
)
ENGINE = ReplacingMergeTree(done)
PARTITION BY toYYYYMM(hour)
PRIMARY KEY (workspace_id, hour)
ORDER BY (workspace_id, hour, run_id, execution_id, version)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;
