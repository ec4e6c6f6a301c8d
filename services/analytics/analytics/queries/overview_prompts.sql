-- The costliest prompts of a period.
SELECT
    prompt_id,
    sum(usage_prompts.runs) AS runs,
    sum(usage_prompts.cost) AS cost,
    max(last_accepted_at) AS last_run_at,
    argMax(last_run_id, last_accepted_at) AS run_id
FROM usage_prompts FINAL
WHERE workspace_id = {workspace:UUID} AND day BETWEEN {from:Date} AND {to:Date} AND prompt_id != ''
GROUP BY prompt_id
HAVING runs > 0
ORDER BY cost DESC, prompt_id
LIMIT {limit:UInt32}
