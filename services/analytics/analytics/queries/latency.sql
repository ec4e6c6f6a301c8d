-- How long runs took, by at most two dimensions: of those that succeeded, by the execution that completed first. What a
-- provider's own batch did took no time that could be told.
WITH
    in_order AS (
        SELECT
            *,
            hour,
            row_number() OVER run = 1 AS is_first,
            fromUnixTimestamp64Milli(accepted_at, {tz:String}) AS moment
        FROM runs FINAL
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
    count() AS runs,
    toUInt64(min(latency_ms)) AS shortest,
    quantilesExact(0.5, 0.9, 0.95, 0.99)(latency_ms) AS percentiles,
    toUInt64(max(latency_ms)) AS longest
FROM in_order
WHERE is_first AND status = 'succeeded' AND service_tier != 'batch'
    AND (empty({model:Array(String)}) OR model IN {model:Array(String)})
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
ORDER BY runs DESC, first, second
LIMIT {limit:UInt32}
