-- Recompute days from their hours (all 24 of each). A group that vanished from its hours is zeros there, and so here.
INSERT INTO usage_days (
    workspace_id, day, provider, model, key_id, runs, executions, succeeded, failed, unpriced, input_tokens,
    output_tokens, cached_tokens, cache_write_tokens, reasoning_tokens, cost, repeated_cost, repeated_unpriced,
    cache_savings, rated, good_outcomes, bad_outcomes, scored, score, waiting, latency_ms, last_completed_at, version
)
SELECT
    workspace_id, toDate(hour) AS day, provider, model, key_id, sum(runs), sum(executions), sum(succeeded), sum(failed),
    sum(unpriced), sum(input_tokens), sum(output_tokens), sum(cached_tokens), sum(cache_write_tokens),
    sum(reasoning_tokens), sum(cost), sum(repeated_cost), sum(repeated_unpriced), sum(cache_savings), sum(rated),
    sum(good_outcomes), sum(bad_outcomes), sum(scored), sum(score), groupArrayArray(waiting), sum(latency_ms),
    max(last_completed_at), %(version)s
FROM usage_hours FINAL
WHERE (workspace_id, hour) IN %(hours)s
GROUP BY workspace_id, day, provider, model, key_id
