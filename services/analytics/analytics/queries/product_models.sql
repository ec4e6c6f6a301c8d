-- Models that were used, the costliest first.
SELECT
    provider,
    model,
    sum(usage_days.runs) AS runs,
    sum(usage_days.cost) AS cost,
    toString(min(day)) AS first_day,
    toString(max(day)) AS last_day
FROM usage_days FINAL
WHERE workspace_id = {workspace:UUID}
    AND day BETWEEN toDate(toDateTime({from:UInt32}, 'UTC')) AND toDate(toDateTime({to:UInt32} - 1, 'UTC'))
    AND usage_days.executions > 0
GROUP BY provider, model
ORDER BY cost DESC, provider, model
