-- Sums by at most two dimensions, from the hours, in any time zone whose days begin on whole hours.
SELECT
    multiIf(
        {first:String} = 'model', toString(model),
        {first:String} = 'provider', toString(provider),
        {first:String} = 'key', toString(key_id),
        {first:String} = 'hour', formatDateTime(hour, '%Y-%m-%dT%H:00:00Z', 'UTC'),
        {first:String} = 'day', toString(toDate(hour, {tz:String})),
        {first:String} = 'week', toString(toMonday(toDate(hour, {tz:String}))),
        {first:String} = 'month', formatDateTime(hour, '%Y-%m', {tz:String}),
        ''
    ) AS first,
    multiIf(
        {second:String} = 'model', toString(model),
        {second:String} = 'provider', toString(provider),
        {second:String} = 'key', toString(key_id),
        {second:String} = 'hour', formatDateTime(hour, '%Y-%m-%dT%H:00:00Z', 'UTC'),
        {second:String} = 'day', toString(toDate(hour, {tz:String})),
        {second:String} = 'week', toString(toMonday(toDate(hour, {tz:String}))),
        {second:String} = 'month', formatDateTime(hour, '%Y-%m', {tz:String}),
        ''
    ) AS second,
    sum(usage_hours.runs) AS runs,
    sum(usage_hours.executions) AS executions,
    sum(usage_hours.succeeded) AS succeeded,
    sum(usage_hours.failed) AS failed,
    sum(usage_hours.unpriced) AS unpriced,
    sum(usage_hours.input_tokens) AS input_tokens,
    sum(usage_hours.output_tokens) AS output_tokens,
    sum(usage_hours.cached_tokens) AS cached_tokens,
    sum(usage_hours.cache_write_tokens) AS cache_write_tokens,
    sum(usage_hours.reasoning_tokens) AS reasoning_tokens,
    sum(usage_hours.cost) AS cost,
    sum(usage_hours.repeated_cost) AS repeated_cost,
    sum(usage_hours.repeated_unpriced) AS repeated_unpriced,
    sum(usage_hours.cache_savings) AS cache_savings,
    sum(usage_hours.rated) AS rated,
    sum(usage_hours.good_outcomes) AS good_outcomes,
    sum(usage_hours.bad_outcomes) AS bad_outcomes,
    sum(usage_hours.scored) AS scored,
    sum(usage_hours.score) AS score,
    sum(arraySum(x -> if(x.until > {lost_before:Int64}, x.runs, 0), waiting)) AS in_flight,
    sum(arraySum(x -> if(x.until > {lost_before:Int64}, 0, x.runs), waiting)) AS lost,
    sum(usage_hours.latency_ms) AS latency_ms
FROM usage_hours FINAL
WHERE workspace_id = {workspace:UUID}
    AND hour >= toDateTime({from:UInt32}, 'UTC') AND hour < toDateTime({to:UInt32}, 'UTC')
    AND (empty({model:Array(String)}) OR model IN {model:Array(String)})
    AND (empty({provider:Array(String)}) OR provider IN {provider:Array(String)})
    AND (empty({key:Array(String)}) OR toString(key_id) IN {key:Array(String)})
GROUP BY first, second
HAVING executions > 0 OR in_flight > 0 OR lost > 0
LIMIT {limit:UInt32}
