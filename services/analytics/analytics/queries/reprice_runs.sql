-- Replace the rows of executions that were repriced in these hours.
INSERT INTO runs
SELECT r.* REPLACE (p.cost AS cost, p.list_price AS list_components, p.newest AS version)
FROM (
    SELECT *
    FROM runs FINAL
    WHERE workspace_id = {workspace:UUID}
        AND hour BETWEEN toDateTime({from:UInt32}, 'UTC') AND toDateTime({to:UInt32}, 'UTC')
) AS r
INNER JOIN (
    SELECT
        execution_id,
        argMax(becomes, version) AS cost,
        argMax(list_components, version) AS list_price,
        max(version) AS newest
    FROM repricings
    WHERE workspace_id = {workspace:UUID}
        AND hour BETWEEN toDateTime({from:UInt32}, 'UTC') AND toDateTime({to:UInt32}, 'UTC')
        AND version IN {versions:Array(UInt64)}
    GROUP BY execution_id
) AS p ON p.execution_id = r.execution_id
WHERE r.version < p.newest
