-- Sums by at most two dimensions, from the runs themselves: whatever the rollups do not know, and any time zone.
-- A run counts by the execution that completed first, whatever is filtered; everything else counts every execution.
WITH
    in_order AS (
        SELECT
            runs.*,
            hour,
            said.success AS said_success,
            said.score AS said_score,
            row_number() OVER run = 1 AS is_first,
            max(NOT cost.priced) OVER (run ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS is_unpriced,
            fromUnixTimestamp64Milli(accepted_at, {tz:String}) AS moment
        FROM runs FINAL
        LEFT JOIN (
            SELECT run_id, hour, success, score
            FROM outcomes FINAL
            WHERE workspace_id = {workspace:UUID}
                AND hour >= toStartOfHour(toDateTime({from:UInt32}, 'UTC')) AND hour < toDateTime({to:UInt32}, 'UTC')
        ) AS said USING (hour, run_id)
        WHERE workspace_id = {workspace:UUID}
            AND hour >= toStartOfHour(toDateTime({from:UInt32}, 'UTC')) AND hour < toDateTime({to:UInt32}, 'UTC')
            AND accepted_at >= toInt64({from:UInt32}) * 1000 AND accepted_at < toInt64({to:UInt32}) * 1000
        WINDOW run AS (PARTITION BY hour, run_id ORDER BY completed_at, execution_id)
    )
SELECT
    multiIf(
        {first:String} = 'model', toString(model),
        {first:String} = 'provider', toString(provider),
        {first:String} = 'key', toString(key_id),
        {first:String} = 'prompt', prompt_id,
        {first:String} = 'user', toString(user),
        {first:String} = 'batch', batch_id,
        {first:String} = 'status', toString(status),
        {first:String} = 'tier', toString(service_tier),
        {first:String} = 'error', toString(error.code),
        {first:String} = 'label', labels[{first_label:String}],
        {first:String} = 'hour', formatDateTime(hour, '%Y-%m-%dT%H:00:00Z', 'UTC'),
        {first:String} = 'day', toString(toDate(moment)),
        {first:String} = 'week', toString(toMonday(toDate(moment))),
        {first:String} = 'month', formatDateTime(moment, '%Y-%m'),
        ''
    ) AS first,
    multiIf(
        {second:String} = 'model', toString(model),
        {second:String} = 'provider', toString(provider),
        {second:String} = 'key', toString(key_id),
        {second:String} = 'prompt', prompt_id,
        {second:String} = 'user', toString(user),
        {second:String} = 'batch', batch_id,
        {second:String} = 'status', toString(status),
        {second:String} = 'tier', toString(service_tier),
        {second:String} = 'error', toString(error.code),
        {second:String} = 'label', labels[{second_label:String}],
        {second:String} = 'hour', formatDateTime(hour, '%Y-%m-%dT%H:00:00Z', 'UTC'),
        {second:String} = 'day', toString(toDate(moment)),
        {second:String} = 'week', toString(toMonday(toDate(moment))),
        {second:String} = 'month', formatDateTime(moment, '%Y-%m'),
        ''
    ) AS second,
    countIf(is_first) AS runs,
    count() AS executions,
    countIf(is_first AND status = 'succeeded') AS succeeded,
    countIf(is_first AND status != 'succeeded') AS failed,
    countIf(is_first AND is_unpriced) AS unpriced,
    sum(usage.input) AS input_tokens,
    sum(usage.output) AS output_tokens,
    sum(usage.cached) AS cached_tokens,
    sum(usage.cache_writes) AS cache_write_tokens,
    sum(usage.reasoning) AS reasoning_tokens,
    sum(ifNull(in_order.cost.total, 0)) AS cost,
    sumIf(ifNull(in_order.cost.total, 0), NOT is_first) AS repeated_cost,
    countIf(NOT is_first AND NOT in_order.cost.priced) AS repeated_unpriced,
    sum(ifNull(in_order.cost.cache_savings, 0)) AS cache_savings,
    countIf(is_first AND (said_success IS NOT NULL OR said_score IS NOT NULL)) AS rated,
    countIf(is_first AND ifNull(said_success, false)) AS good_outcomes,
    countIf(is_first AND NOT ifNull(said_success, true)) AS bad_outcomes,
    countIf(is_first AND said_score IS NOT NULL) AS scored,
    sumIf(ifNull(said_score, 0), is_first) AS score,
    0 AS in_flight,
    0 AS lost,
    sumIf(in_order.latency_ms, is_first AND status = 'succeeded') AS latency_ms
FROM in_order
WHERE (empty({model:Array(String)}) OR model IN {model:Array(String)})
    AND (empty({provider:Array(String)}) OR provider IN {provider:Array(String)})
    AND (empty({key:Array(String)}) OR toString(key_id) IN {key:Array(String)})
    AND (empty({prompt:Array(String)}) OR prompt_id IN {prompt:Array(String)})
    AND (empty({user:Array(String)}) OR user IN {user:Array(String)})
    AND (empty({batch:Array(String)}) OR batch_id IN {batch:Array(String)})
    AND (empty({status:Array(String)}) OR toString(status) IN {status:Array(String)})
    AND (empty({tier:Array(String)}) OR service_tier IN {tier:Array(String)})
    AND (empty({error:Array(String)}) OR error.code IN {error:Array(String)})
    AND arrayAll((name, value) -> labels[name] = value, {label_names:Array(String)}, {label_values:Array(String)})
GROUP BY first, second
LIMIT {limit:UInt32}
