-- Sums by at most two dimensions, from the days. UTC alone: its days are these days.
SELECT
    multiIf(
        {first:String} = 'model', toString(model),
        {first:String} = 'provider', toString(provider),
        {first:String} = 'key', toString(key_id),
        {first:String} = 'day', toString(day),
        {first:String} = 'month', formatDateTime(day, '%Y-%m'),
        ''
    ) AS first,
    multiIf(
        {second:String} = 'model', toString(model),
        {second:String} = 'provider', toString(provider),
        {second:String} = 'key', toString(key_id),
        {second:String} = 'day', toString(day),
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
    sum(usage_days.latency_ms) AS latency_ms
FROM usage_days FINAL
WHERE workspace_id = {workspace:UUID}
    AND day BETWEEN toDate(toDateTime({from:UInt32}, 'UTC')) AND toDate(toDateTime({to:UInt32} - 1, 'UTC'))
    AND (empty({model:Array(String)}) OR model IN {model:Array(String)})
    AND (empty({provider:Array(String)}) OR provider IN {provider:Array(String)})
    AND (empty({key:Array(String)}) OR toString(key_id) IN {key:Array(String)})
GROUP BY first, second
HAVING executions > 0
LIMIT {limit:UInt32}
