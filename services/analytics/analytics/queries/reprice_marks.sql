-- Mark the hours that were repriced, to be counted anew.
INSERT INTO dirty_hours (workspace_id, hour, state, mark, marked_at, appended_at, sign)
SELECT workspace_id, hour, 'fresh', generateUUIDv4(), {now:Int64}, {now:Int64}, 1
FROM (
    SELECT DISTINCT workspace_id, hour
    FROM repricings
    WHERE workspace_id = {workspace:UUID}
        AND hour BETWEEN toDateTime({from:UInt32}, 'UTC') AND toDateTime({to:UInt32}, 'UTC')
        AND version IN {versions:Array(UInt64)}
)
