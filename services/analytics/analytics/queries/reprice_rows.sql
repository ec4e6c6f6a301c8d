-- A page of executions in the order of their ids within their hours: what each costs, and what it costs is made of.
-- `recorded`: its cost as the runner told it.
SELECT
    toUnixTimestamp(r.hour) AS hour,
    r.run_id AS run_id,
    r.execution_id AS execution_id,
    r.accepted_at AS accepted_at,
    r.completed_at AS completed_at,
    r.batch_id AS batch_id,
    toString(r.provider) AS provider,
    toString(r.model) AS model,
    toString(r.served_model) AS served_model,
    toString(r.service_tier) AS service_tier,
    r.usage.input AS input,
    r.usage.output AS output,
    r.usage.cached AS cached,
    r.usage.cache_writes AS cache_writes,
    r.usage.reasoning AS reasoning,
    r.price_context AS price_context,
    r.cost.priced AS priced,
    r.cost.total AS total,
    r.cost.components AS components,
    toString(r.cost.catalogue) AS catalogue,
    r.list_components AS list_components,
    r.version AS version,
    p.is_repriced AS is_repriced,
    p.recorded.priced AS recorded_priced,
    p.recorded.total AS recorded_total,
    p.recorded.components AS recorded_components,
    toString(p.recorded.catalogue) AS recorded_catalogue
FROM (
    SELECT *, hour
    FROM runs FINAL
    WHERE workspace_id = {workspace:UUID}
        AND hour >= toStartOfHour(toDateTime({from:UInt32}, 'UTC')) AND hour < toDateTime({to:UInt32}, 'UTC')
        AND accepted_at >= toInt64({from:UInt32}) * 1000 AND accepted_at < toInt64({to:UInt32}) * 1000
        AND (toUnixTimestamp(hour), toUInt128(run_id), toUInt128(execution_id))
            > ({after_hour:UInt32}, toUInt128({after_run:UUID}), toUInt128({after_execution:UUID}))
    ORDER BY runs.hour, toUInt128(run_id), toUInt128(execution_id)
    LIMIT {limit:UInt32}
) AS r
LEFT JOIN (
    SELECT execution_id, argMin(was, version) AS recorded, 1 AS is_repriced
    FROM repricings
    WHERE workspace_id = {workspace:UUID}
        AND hour >= toStartOfHour(toDateTime({from:UInt32}, 'UTC')) AND hour < toDateTime({to:UInt32}, 'UTC')
    GROUP BY execution_id
) AS p ON p.execution_id = r.execution_id
ORDER BY r.hour, toUInt128(r.run_id), toUInt128(r.execution_id)
