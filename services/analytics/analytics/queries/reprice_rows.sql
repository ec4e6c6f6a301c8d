-- The executions of a stretch of time: what each costs, and what that is made of.
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
    r.cost.cache_savings AS cache_savings,
    r.list_components AS list_components,
    r.version AS version,
    p.is_repriced AS is_repriced,
    p.recorded.priced AS recorded_priced,
    p.recorded.total AS recorded_total,
    p.recorded.components AS recorded_components,
    toString(p.recorded.catalogue) AS recorded_catalogue,
    p.recorded.cache_savings AS recorded_cache_savings
FROM (
    SELECT *, hour
    FROM runs FINAL
    PREWHERE accepted_at >= {since:Int64} AND accepted_at < {until:Int64}
    WHERE workspace_id = {workspace:UUID}
        AND hour BETWEEN toDateTime({from:UInt32}, 'UTC') AND toDateTime({to:UInt32}, 'UTC')
) AS r
LEFT JOIN (
    SELECT execution_id, argMin(was, version) AS recorded, 1 AS is_repriced
    FROM repricings
    WHERE workspace_id = {workspace:UUID}
        AND hour BETWEEN toDateTime({from:UInt32}, 'UTC') AND toDateTime({to:UInt32}, 'UTC')
    GROUP BY execution_id
) AS p ON p.execution_id = r.execution_id
