-- Every execution of these runs, the one that completed first before the others.
SELECT
    run_id,
    execution_id,
    toString(status) AS status,
    provider,
    model,
    prompt_id,
    user,
    operation,
    labels,
    batch_id,
    custom_id,
    accepted_at,
    completed_at,
    truncated,
    finish_reason,
    served_model,
    service_tier,
    usage.input AS input,
    usage.output AS output,
    usage.cached AS cached,
    usage.cache_writes AS cache_writes,
    usage.reasoning AS reasoning,
    cost.priced AS priced,
    cost.total AS cost,
    cost.components AS cost_components,
    cost.catalogue AS catalogue,
    cost.cache_savings AS cache_savings,
    error.code AS error_code,
    error.message AS error,
    attempts,
    latency_ms,
    queued_ms,
    key_id
FROM runs
WHERE workspace_id = {workspace:UUID}
    AND hour BETWEEN toDateTime({from:UInt32}, 'UTC') AND toDateTime({to:UInt32}, 'UTC')
    AND run_id IN {run_ids:Array(UUID)}
ORDER BY runs.completed_at, execution_id, version DESC
LIMIT 1 BY run_id, execution_id
