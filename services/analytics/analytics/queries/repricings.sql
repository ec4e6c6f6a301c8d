-- When these executions were priced again, the oldest first.
SELECT
    run_id, execution_id, repriced_at, reason, was.priced AS was_priced, was.total AS was_total,
    becomes.priced AS priced, becomes.total AS total, toString(becomes.catalogue) AS catalogue
FROM repricings
WHERE workspace_id = {workspace:UUID}
    AND hour = toDateTime({hour:UInt32}, 'UTC')
    AND run_id = {run_id:UUID}
ORDER BY version, done
LIMIT 1 BY execution_id, version
