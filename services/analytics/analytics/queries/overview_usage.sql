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
    sum(usage_days.cache_savings) AS cache_savings,
    sum(usage_days.rated) AS rated,
    sum(usage_days.good_outcomes) AS good_outcomes,
    sum(usage_days.bad_outcomes) AS bad_outcomes,
    sum(usage_days.scored) AS scored,
    sum(usage_days.score) AS score,
    sum(arraySum(x -> if(x.until > {lost_before:Int64}, x.runs, 0), waiting)) AS in_flight,
    sum(arraySum(x -> if(x.until > {lost_before:Int64}, 0, x.runs), waiting)) AS lost,
    sum(usage_days.latency_ms) AS latency_ms
FROM usage_days FINAL
WHERE workspace_id = {workspace:UUID} AND day BETWEEN {previous_from:Date} AND {to:Date}
GROUP BY GROUPING SETS ((day), (model, day >= {from:Date} AS current))
HAVING (by_model = 0 AND (executions > 0 OR in_flight > 0 OR lost > 0)) OR (by_model AND current AND executions > 0)
ORDER BY by_model, date, cost DESC, model
