-- Sums over a batch: runs by the execution that completed first, everything else over all executions, each once.
SELECT
    count() AS runs,
    sum(of_run) AS executions,
    countIf(first = 'succeeded') AS succeeded,
    countIf(first = 'failed') AS failed,
    countIf(first = 'expired') AS expired,
    countIf(first = 'cancelled') AS cancelled,
    sum(unpriced_of_run) AS unpriced,
    sum(cost_of_run) AS cost,
    sum(input_of_run) AS input_tokens,
    sum(output_of_run) AS output_tokens
FROM (
    SELECT
        count() AS of_run,
        argMin(status, (completed_at, execution_id)) AS first,
        countIf(NOT cost.priced) AS unpriced_of_run,
        sum(ifNull(cost.total, 0)) AS cost_of_run,
        sum(usage.input) AS input_of_run,
        sum(usage.output) AS output_of_run
    FROM (
        SELECT run_id, execution_id, completed_at, status, usage, cost
        FROM batch_runs
        WHERE workspace_id = {workspace:UUID}
            AND batch_id = {batch:String}
            AND accepted_at >= {since:Int64} AND accepted_at < {until:Int64}
        ORDER BY version DESC
        LIMIT 1 BY execution_id
    )
    GROUP BY run_id
)
