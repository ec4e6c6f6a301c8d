-- Recompute hours from the runs themselves. Groups that vanished are written as zeros.
-- The hours come as a literal set: the primary key is not used for a computed one.
INSERT INTO usage_hours (
    workspace_id, hour, provider, model, key_id, runs, executions, succeeded, failed, unpriced, input_tokens,
    output_tokens, cached_tokens, cache_write_tokens, reasoning_tokens, cost, repeated_cost, repeated_unpriced, latency_ms,
    last_completed_at, version
)
WITH in_order AS (
    SELECT
        workspace_id,
        hour,
        provider,
        model,
        key_id,
        status = 'succeeded' AS is_success,
        usage.input AS input,
        usage.output AS output,
        usage.cached AS cached,
        usage.cache_writes AS cache_writes,
        usage.reasoning AS reasoning,
        cost.priced AS has_price,
        ifNull(cost.total, 0) AS price,
        latency_ms AS latency,
        completed_at,
        row_number() OVER run = 1 AS is_first,
        max(NOT cost.priced) OVER (run ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS is_unpriced
    FROM runs FINAL
    WHERE (workspace_id, hour) IN %(hours)s
    WINDOW run AS (PARTITION BY workspace_id, hour, run_id ORDER BY completed_at, execution_id)
)
SELECT
    workspace_id,
    hour,
    provider,
    model,
    key_id,
    countIf(is_first),
    countIf(is_real),
    countIf(is_first AND is_success),
    countIf(is_first AND NOT is_success),
    countIf(is_first AND is_unpriced),
    sum(input),
    sum(output),
    sum(cached),
    sum(cache_writes),
    sum(reasoning),
    sum(price),
    sumIf(price, is_real AND NOT is_first),
    countIf(is_real AND NOT is_first AND NOT has_price),
    sumIf(latency, is_first AND is_success),
    max(completed_at),
    %(version)s
FROM (
    SELECT *, true AS is_real FROM in_order
    UNION ALL
    SELECT workspace_id, hour, provider, model, key_id, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, false
    FROM usage_hours FINAL
    WHERE (workspace_id, hour) IN %(hours)s
)
GROUP BY workspace_id, hour, provider, model, key_id
