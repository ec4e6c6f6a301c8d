-- A page of a batch's executions of one topic: from one offset of each partition on, up to what is known to be stored.
-- An execution that was appended twice stands at its first place alone. Arrays count from 1; beyond one is 0.
SELECT
    log_partition,
    log_offset,
    log_bytes,
    run_id,
    execution_id,
    custom_id,
    accepted_at,
    completed_at,
    toString(status) AS status,
    operation,
    provider,
    model,
    served_model,
    finish_reason,
    truncated,
    usage.input AS input,
    usage.output AS output,
    usage.cached AS cached,
    usage.cache_writes AS cache_writes,
    usage.reasoning AS reasoning,
    cost.priced AS priced,
    cost.total AS cost,
    error.code AS error_code,
    error.message AS error,
    error.retry_at AS retry_at,
    latency_ms
FROM batch_runs
WHERE workspace_id = {workspace:UUID}
    AND batch_id = {batch:String}
    AND log_topic = {topic:String}
    AND (log_partition, log_offset) IN (
        SELECT log_partition, first
        FROM (
            SELECT log_partition, min(log_offset) AS first
            FROM batch_runs
            WHERE workspace_id = {workspace:UUID} AND batch_id = {batch:String} AND log_topic = {topic:String}
            GROUP BY log_partition, execution_id
        )
        WHERE first >= {after:Array(UInt64)}[log_partition + 1] AND first < {stored:Array(UInt64)}[log_partition + 1]
        ORDER BY log_partition, first
        LIMIT {limit:UInt32}
    )
ORDER BY log_partition, log_offset, version DESC
LIMIT 1 BY log_partition, log_offset
LIMIT {limit:UInt32}
-- One thread does it with half the work, and readers of many batches ask at once.
SETTINGS max_threads = 1
