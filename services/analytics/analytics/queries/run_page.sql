-- Ids of a page of runs, newest first, finished or not: those after a place in the list, within a range of hours.
-- UUIDs are compared as numbers: the type's own order is by its low half, and only when it is sorted.
-- What a run is filtered by besides its request is its first execution's: so it is counted in the figures.
SELECT
    run_id,
    any(at) AS accepted_at,
    argMin((state, key, tier, code), (1 - finished, place)) AS first,
    if(max(finished), first.1, 'accepted') AS status
FROM (
    SELECT
        run_id, accepted_at AS at, provider, model, prompt_id, user, batch_id, labels,
        toString(status) AS state, toString(key_id) AS key, toString(service_tier) AS tier, toString(error.code) AS code,
        (completed_at, execution_id) AS place, 1 AS finished, NOT runs.cost.priced AS unpriced
    FROM runs FINAL
    WHERE workspace_id = {workspace:UUID} AND hour BETWEEN toDateTime({from:UInt32}, 'UTC') AND toDateTime({to:UInt32}, 'UTC')
    UNION ALL
    SELECT
        run_id, accepted_at, provider, model, prompt_id, user, batch_id, labels,
        '', toString(key_id), '', '', (0, toUUID('00000000-0000-0000-0000-000000000000')), 0, 0
    FROM accepted
    WHERE workspace_id = {workspace:UUID} AND hour BETWEEN toDateTime({from:UInt32}, 'UTC') AND toDateTime({to:UInt32}, 'UTC')
)
WHERE at >= {since_at:Int64} AND (at, toUInt128(run_id)) < ({before_at:Int64}, toUInt128({before_id:UUID}))
    AND (empty({model:Array(String)}) OR model IN {model:Array(String)})
    AND (empty({provider:Array(String)}) OR provider IN {provider:Array(String)})
    AND (empty({prompt:Array(String)}) OR prompt_id IN {prompt:Array(String)})
    AND (empty({user:Array(String)}) OR user IN {user:Array(String)})
    AND (empty({batch:Array(String)}) OR batch_id IN {batch:Array(String)})
    AND arrayAll((name, value) -> labels[name] = value, {label_names:Array(String)}, {label_values:Array(String)})
GROUP BY run_id
HAVING (empty({status:Array(String)}) OR status IN {status:Array(String)})
    AND (empty({key:Array(String)}) OR first.2 IN {key:Array(String)})
    AND (empty({tier:Array(String)}) OR max(finished) AND first.3 IN {tier:Array(String)})
    AND (empty({error:Array(String)}) OR max(finished) AND first.4 IN {error:Array(String)})
    AND (NOT {unpriced:Bool} OR max(unpriced))
    AND (NOT {repeated:Bool} OR sum(finished) > 1)
ORDER BY accepted_at DESC, toUInt128(run_id) DESC
LIMIT {limit:UInt32}
