-- Sums by at most two dimensions, from the days. UTC alone: its days are these days.
SELECT
    multiIf(
        {first:String} = 'model', toString(model),
        {first:String} = 'provider', toString(provider),
        {first:String} = 'key', toString(key_id),
        {first:String} = 'day', toString(day),
        {first:String} = 'week', toString(toMonday(day)),
        {first:String} = 'month', formatDateTime(day, '%Y-%m'),
        ''
    ) AS first,
    multiIf(
        {second:String} = 'model', toString(model),
        {second:String} = 'provider', toString(provider),
        {second:String} = 'key', toString(key_id),
        {second:String} = 'day', toString(day),
        {second:String} = 'week', toString(toMonday(day)),
        {second:String} = 'month', formatDateTime(day, '%Y-%m'),
        ''
    ) AS second,
    sum(usage_days.runs) AS runs,
    sum(usage_days.executions) AS executions,
    sum(usage_days.succeeded) AS succeeded,
    sum(usage_days.failed) AS failed,
    sum(usage_days.unpriced) AS unpriced,
    sum(usage_days.input_tokens) AS input_tokens,
    sum(usage_days.output_tokens) AS output_tokens,
    sum(usage_days.cached_tokens) AS cached_tokens,
    sum(usage_days.cache_write_tokens) AS cache_write_tokens,
    sum(usage_days.reasoning_tokens) AS reasoning_tokens,
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
WHERE workspace_id = {workspace:UUID}
    AND day BETWEEN toDate(toDateTime({from:UInt32}, 'UTC')) AND toDate(toDateTime({to:UInt32} - 1, 'UTC'))
    AND (empty({model:Array(String)}) OR model IN {model:Array(String)})
    AND (empty({provider:Array(String)}) OR provider IN {provider:Array(String)})
    AND (empty({key:Array(String)}) OR toString(key_id) IN {key:Array(String)})
GROUP BY first, second
HAVING executions > 0 OR in_flight > 0 OR lost > 0
LIMIT {limit:UInt32}
