-- Sums by day over both periods, and by model over the current one, from one and the same snapshot.
SELECT
    grouping(model) = 0 AS by_model,
    toString(day) AS date,
    model,
    sum(usage_days.runs) AS runs,
    sum(usage_days.executions) AS executions,
    sum(usage_days.succeeded) AS succeeded,
    sum(usage_days.failed) AS failed,
    sum(usage_days.unpriced) AS unpriced,
    sum(input_tokens + output_tokens) AS tokens,
    sum(usage_days.cost) AS cost,
    sum(usage_days.repeated_cost) AS repeated_cost,
    sum(usage_days.repeated_unpriced) AS repeated_unpriced,
    sum(usage_days.latency_ms) AS latency_ms
FROM usage_days FINAL
WHERE workspace_id = {workspace:UUID} AND day BETWEEN {previous_from:Date} AND {to:Date}
GROUP BY GROUPING SETS ((day), (model, day >= {from:Date} AS current))
HAVING executions > 0 AND (by_model = 0 OR current)
ORDER BY by_model, date, cost DESC, model
