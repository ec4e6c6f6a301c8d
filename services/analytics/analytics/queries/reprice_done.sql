-- These repricings are finished.
INSERT INTO repricings
SELECT * REPLACE (1 AS done)
FROM repricings FINAL
WHERE workspace_id = {workspace:UUID}
    AND hour BETWEEN toDateTime({from:UInt32}, 'UTC') AND toDateTime({to:UInt32}, 'UTC')
    AND version IN {versions:Array(UInt64)} AND done = 0
