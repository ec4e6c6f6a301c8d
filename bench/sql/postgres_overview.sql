SELECT (accepted_at AT TIME ZONE 'UTC')::date AS day, model, count(*) AS runs,
    count(*) FILTER (WHERE status = 'succeeded') AS succeeded, sum(input_tokens + output_tokens) AS tokens,
    sum(cost) AS cost, sum(latency_ms) FILTER (WHERE status = 'succeeded') AS latency
FROM runs
WHERE workspace_id = '00000000-0000-0000-0000-000000000001' AND accepted_at >= now() - interval '365 days'
GROUP BY GROUPING SETS ((1), (2))
