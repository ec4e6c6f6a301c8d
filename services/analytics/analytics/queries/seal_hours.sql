-- Recompute hours from the runs themselves. Groups that vanished are written as zeros.
-- The hours come as a literal set: the primary key is not used for a computed one.
-- A run's acceptance and its executions lie in the same hour. A minute in which the same runs were accepted and have
-- ended shows by a sum of hashes, so that only those of the other minutes are looked up.
INSERT INTO usage_hours (
    workspace_id, hour, provider, model, key_id, runs, executions, succeeded, failed, unpriced, input_tokens,
    output_tokens, cached_tokens, cache_write_tokens, reasoning_tokens, cost, repeated_cost, repeated_unpriced,
    cache_savings, rated, good_outcomes, bad_outcomes, scored, score, waiting, latency_ms, last_completed_at, version
)
WITH
    in_order AS (
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
            ifNull(cost.cache_savings, 0) AS saved,
            said.success AS is_good,
            said.score AS points,
            latency_ms AS latency,
            completed_at,
            row_number() OVER run = 1 AS is_first,
            max(NOT cost.priced) OVER (run ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS is_unpriced
        FROM runs FINAL
        LEFT JOIN (
            SELECT workspace_id, hour, run_id, success, score FROM outcomes FINAL WHERE (workspace_id, hour) IN %(hours)s
        ) AS said USING (workspace_id, hour, run_id)
        WHERE (workspace_id, hour) IN %(hours)s
        WINDOW run AS (PARTITION BY workspace_id, hour, run_id ORDER BY completed_at, execution_id)
    ),
    open_minutes AS (
        SELECT workspace_id, minute
        FROM (
            SELECT workspace_id, intDiv(accepted_at, 60000) AS minute, toInt64(cityHash64(run_id)) AS hash
            FROM accepted
            WHERE (workspace_id, hour) IN %(hours)s
            UNION ALL
            SELECT workspace_id, intDiv(accepted_at, 60000), -toInt64(cityHash64(run_id))
            FROM runs
            WHERE (workspace_id, hour) IN %(hours)s
        )
        GROUP BY workspace_id, minute
        HAVING sum(hash) != 0
    ),
    unfinished AS (
        SELECT
            workspace_id,
            hour,
            argMax((provider, model), deadline) AS of,
            max(deadline) AS until,
            min(accepted_at) AS at
        FROM accepted
        WHERE (workspace_id, hour) IN %(hours)s
            AND (workspace_id, intDiv(accepted_at, 60000)) IN open_minutes
            AND (workspace_id, run_id) NOT IN (
                SELECT workspace_id, run_id
                FROM runs
                WHERE (workspace_id, hour) IN %(hours)s AND (workspace_id, intDiv(accepted_at, 60000)) IN open_minutes
            )
        GROUP BY workspace_id, hour, run_id
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
    sum(saved),
    countIf(is_first AND (is_good IS NOT NULL OR points IS NOT NULL)),
    countIf(is_first AND ifNull(is_good, false)),
    countIf(is_first AND NOT ifNull(is_good, true)),
    countIf(is_first AND points IS NOT NULL),
    sumIf(ifNull(points, 0), is_first),
    groupArrayIf((until, n_waiting, oldest), n_waiting > 0),
    sumIf(latency, is_first AND is_success),
    max(completed_at),
    %(version)s
FROM (
    SELECT *, true AS is_real, 0 AS until, 0 AS n_waiting, 0 AS oldest FROM in_order
    UNION ALL
    SELECT
        workspace_id, hour, of.1, of.2, toUUID('00000000-0000-0000-0000-000000000000'), 0, 0, 0, 0, 0, 0, 0, 0, 0, NULL,
        NULL, 0, 0, 0, 0, false, intDiv(unfinished.until + 59999, 60000) * 60000 AS minute, count(), min(at)
    FROM unfinished
    GROUP BY workspace_id, hour, of, minute
    UNION ALL
    SELECT workspace_id, hour, provider, model, key_id, 0, 0, 0, 0, 0, 0, 0, 0, 0, NULL, NULL, 0, 0, 0, 0, false, 0, 0, 0
    FROM usage_hours FINAL
    WHERE (workspace_id, hour) IN %(hours)s
)
GROUP BY workspace_id, hour, provider, model, key_id
