-- Replace the rows of batches that were repriced in these hours.
INSERT INTO batch_runs
SELECT b.* REPLACE ((p.cost.priced, p.cost.total) AS cost, p.newest AS version)
FROM (
    SELECT *
    FROM batch_runs FINAL
    WHERE workspace_id = {workspace:UUID}
        AND hour BETWEEN toDateTime({from:UInt32}, 'UTC') AND toDateTime({to:UInt32}, 'UTC')
        AND batch_id IN (
            SELECT batch_id
            FROM repricings
            WHERE workspace_id = {workspace:UUID}
                AND hour BETWEEN toDateTime({from:UInt32}, 'UTC') AND toDateTime({to:UInt32}, 'UTC')
                AND version IN {versions:Array(UInt64)} AND batch_id != ''
        )
) AS b
INNER JOIN (
    SELECT execution_id, argMax(becomes, version) AS cost, max(version) AS newest
    FROM repricings
    WHERE workspace_id = {workspace:UUID}
        AND hour BETWEEN toDateTime({from:UInt32}, 'UTC') AND toDateTime({to:UInt32}, 'UTC')
        AND version IN {versions:Array(UInt64)}
    GROUP BY execution_id
) AS p ON p.execution_id = b.execution_id
WHERE b.version < p.newest
