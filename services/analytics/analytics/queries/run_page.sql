-- Ids of a page of runs, newest first, finished or not: those after a place in the list, within a range of hours.
-- UUIDs are compared as numbers: the type's own order is by its low half, and only when it is sorted.
SELECT run_id, any(at) AS accepted_at, if(max(finished), argMinIf(state, place, finished), 'accepted') AS status
FROM (
    SELECT
        run_id, accepted_at AS at, model, toString(status) AS state, (completed_at, execution_id) AS place, 1 AS finished
    FROM runs FINAL
    WHERE workspace_id = {workspace:UUID} AND hour BETWEEN toDateTime({from:UInt32}, 'UTC') AND toDateTime({to:UInt32}, 'UTC')
    UNION ALL
    SELECT run_id, accepted_at, model, '', (0, toUUID('00000000-0000-0000-0000-000000000000')), 0
    FROM accepted
    WHERE workspace_id = {workspace:UUID} AND hour BETWEEN toDateTime({from:UInt32}, 'UTC') AND toDateTime({to:UInt32}, 'UTC')
)
WHERE (at, toUInt128(run_id)) < ({before_at:Int64}, toUInt128({before_id:UUID})) AND ({model:String} = '' OR model = {model:String})
GROUP BY run_id
HAVING {status:String} = '' OR status = {status:String}
ORDER BY accepted_at DESC, toUInt128(run_id) DESC
LIMIT {limit:UInt32}
