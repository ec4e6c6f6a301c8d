-- Recompute the prompts of whole days (all 24 hours of each): the costliest by name, the rest as ''. Prompts that
-- vanished from a day, or fell among its rest, are written as zeros.
INSERT INTO usage_prompts (
    workspace_id, day, prompt_id, runs, executions, unpriced, cost, last_accepted_at, last_run_id, version
)
WITH
    in_order AS (
        SELECT
            workspace_id,
            toDate(hour) AS day,
            prompt_id,
            run_id,
            accepted_at,
            ifNull(cost.total, 0) AS price,
            row_number() OVER run = 1 AS is_first,
            max(NOT cost.priced) OVER (run ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS is_unpriced
        FROM runs FINAL
        WHERE (workspace_id, hour) IN %(hours)s AND prompt_id != ''
        WINDOW run AS (PARTITION BY workspace_id, hour, run_id ORDER BY completed_at, execution_id)
    ),
    prompts AS (
        SELECT
            workspace_id,
            day,
            prompt_id,
            countIf(is_first) AS n_runs,
            count() AS n_executions,
            countIf(is_first AND is_unpriced) AS n_unpriced,
            sum(price) AS total,
            max(accepted_at) AS last_at,
            argMax(run_id, accepted_at) AS last_id
        FROM in_order
        GROUP BY workspace_id, day, prompt_id
    ),
    ranked AS (
        SELECT *, row_number() OVER (PARTITION BY workspace_id, day ORDER BY total DESC, prompt_id) AS place
        FROM prompts
    )
SELECT
    workspace_id,
    day,
    name,
    sum(n_runs),
    sum(n_executions),
    sum(n_unpriced),
    sum(total),
    max(last_at),
    argMax(last_id, last_at),
    %(version)s
FROM (
    SELECT
        workspace_id,
        day,
        if(place <= %(named)s, prompt_id, '') AS name,
        n_runs,
        n_executions,
        n_unpriced,
        total,
        last_at,
        last_id
    FROM ranked
    UNION ALL
    SELECT workspace_id, day, prompt_id, 0, 0, 0, 0, 0, toUUID('00000000-0000-0000-0000-000000000000')
    FROM usage_prompts FINAL
    WHERE (workspace_id, day) IN %(days)s
)
GROUP BY workspace_id, day, name
