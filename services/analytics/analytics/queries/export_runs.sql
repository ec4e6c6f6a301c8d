-- The executions of a stretch of time that pass the filters, in the order in which their runs were accepted.
WITH in_order AS (
    SELECT *, row_number() OVER (PARTITION BY run_id ORDER BY completed_at, execution_id) AS place
    FROM runs FINAL
    PREWHERE accepted_at >= {since:Int64} AND accepted_at < {until:Int64}
    WHERE workspace_id = {workspace:UUID}
        AND hour BETWEEN toDateTime({from:UInt32}, 'UTC') AND toDateTime({to:UInt32}, 'UTC')
)
SELECT
    toString(in_order.run_id) AS run_id,
    toString(in_order.execution_id) AS execution_id,
    toUInt32(place) AS execution,
    fromUnixTimestamp64Milli(in_order.accepted_at, 'UTC') AS accepted_at,
    fromUnixTimestamp64Milli(in_order.completed_at, 'UTC') AS completed_at,
    toString(in_order.status) AS status,
    toString(in_order.provider) AS provider,
    toString(in_order.model) AS model,
    toString(in_order.served_model) AS served_model,
    toString(in_order.service_tier) AS service_tier,
    toString(in_order.operation) AS operation,
    toString(in_order.user) AS user,
    in_order.prompt_id AS prompt_id,
    in_order.batch_id AS batch_id,
    in_order.custom_id AS custom_id,
    if(in_order.key_id = toUUID('00000000-0000-0000-0000-000000000000'), '', toString(in_order.key_id)) AS key_id,
    toJSONString(in_order.labels) AS labels,
    in_order.usage.input AS input_tokens,
    in_order.usage.output AS output_tokens,
    in_order.usage.cached AS cached_tokens,
    in_order.usage.cache_writes AS cache_write_tokens,
    in_order.usage.reasoning AS reasoning_tokens,
    in_order.cost.priced AS priced,
    in_order.cost.total AS cost,
    toString(in_order.cost.catalogue) AS catalogue,
    toString(in_order.error.code) AS error_code,
    toString(in_order.finish_reason) AS finish_reason,
    in_order.latency_ms AS latency_ms,
    in_order.queued_ms AS queued_ms
FROM in_order
WHERE {{passes}}
ORDER BY in_order.accepted_at, toUInt128(in_order.run_id), place
SETTINGS date_time_output_format = 'iso', format_csv_null_representation = '', output_format_arrow_compression_method = 'none'
