-- Recompute the prompts of whole days (all 24 hours of each): the costliest by name, the rest as ''. Prompts that
-- vanished from a day, or fell among its rest, are written as zeros.
INSERT INTO usage_prompts (
    workspace_id, day, prompt_id, runs, executions, succeeded, unpriced, cost, rated, good_outcomes, bad_outcomes,
    scored, score, last_accepted_at, last_run_id, version
)
WITH
    in_order AS (
        SELECT
            workspace_id,
            toDate(hour) AS day,
            prompt_id,
            run_id,
            accepted_at,
            status = 'succeeded' AS is_success,
            ifNull(cost.total, 0) AS price,
            said.success AS is_good,
            said.score AS points,
            row_number() OVER run = 1 AS is_first,
            max(NOT cost.priced) OVER (run ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS is_unpriced
        FROM runs FINAL
        LEFT JOIN (
            SELECT workspace_id, hour, run_id, success, score FROM outcomes FINAL WHERE (workspace_id, hour) IN %(hours)s
        ) AS said USING (workspace_id, hour, run_id)
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
            countIf(is_first AND is_success) AS n_succeeded,
            countIf(is_first AND is_unpriced) AS n_unpriced,
            sum(price) AS total,
            countIf(is_first AND (is_good IS NOT NULL OR points IS NOT NULL)) AS n_rated,
            countIf(is_first AND ifNull(is_good, false)) AS n_good,
            countIf(is_first AND NOT ifNull(is_good, true)) AS n_bad,
            countIf(is_first AND points IS NOT NULL) AS n_scored,
            sumIf(ifNull(points, 0), is_first) AS sum_points,
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
    sum(n_succeeded),
    sum(n_unpriced),
    sum(total),
    sum(n_rated),
    sum(n_good),
    sum(n_bad),
    sum(n_scored),
    sum(sum_points),
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
        n_succeeded,
        n_unpriced,
        total,
        n_rated,
        n_good,
        n_bad,
        n_scored,
        sum_points,
        last_at,
        last_id
    FROM ranked
    UNION ALL
    SELECT
        workspace_id, day, prompt_id, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, toUUID('00000000-0000-0000-0000-000000000000')
    FROM usage_prompts FINAL
    WHERE (workspace_id, day) IN %(days)s
)
GROUP BY workspace_id, day, name
