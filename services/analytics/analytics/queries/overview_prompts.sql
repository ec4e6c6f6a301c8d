-- The costliest prompts of a period.
SELECT
    prompt_id,
    sum(usage_prompts.runs) AS runs,
    sum(usage_prompts.succeeded) AS succeeded,
    sum(usage_prompts.cost) AS cost,
    sum(usage_prompts.rated) AS rated,
    sum(usage_prompts.good_outcomes) AS good_outcomes,
    sum(usage_prompts.bad_outcomes) AS bad_outcomes,
    sum(usage_prompts.scored) AS scored,
    sum(usage_prompts.score) AS score,
    max(last_accepted_at) AS last_run_at,
    argMax(last_run_id, last_accepted_at) AS run_id
FROM usage_prompts FINAL
WHERE workspace_id = {workspace:UUID} AND day BETWEEN {from:Date} AND {to:Date} AND prompt_id != ''
GROUP BY prompt_id
HAVING runs > 0
ORDER BY cost DESC, prompt_id
LIMIT {limit:UInt32}
