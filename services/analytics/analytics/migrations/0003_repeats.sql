-- What executions after a run's first one cost. Those without a price are counted, since their cost is not known.
ALTER TABLE usage_hours
    ADD COLUMN IF NOT EXISTS repeated_cost Decimal(38, 18) AFTER cost,
    ADD COLUMN IF NOT EXISTS repeated_unpriced UInt64 AFTER repeated_cost;

ALTER TABLE usage_days
    ADD COLUMN IF NOT EXISTS repeated_cost Decimal(38, 18) AFTER cost,
    ADD COLUMN IF NOT EXISTS repeated_unpriced UInt64 AFTER repeated_cost;

-- Hours with repeats are counted again, now and once more in eleven minutes: until every replica is of this version, one
-- of the version before may count them, and would write zeros. That is also why the last day's hours are among them.
INSERT INTO dirty_hours (workspace_id, hour, state, mark, marked_at, appended_at, sign)
SELECT
    workspace_id, hour, 'fresh', generateUUIDv4(), toUnixTimestamp64Milli(now64(3)) + 600000,
    toUnixTimestamp64Milli(now64(3)), 1
FROM usage_hours FINAL
GROUP BY workspace_id, hour
HAVING sum(executions) > sum(runs) OR hour > now() - INTERVAL 1 DAY;
