-- A page of the runs of a batch that reached the log, by run id, as numbers: the type's own order is by its low half.
SELECT run_id, any(custom_id) AS custom_id
FROM accepted
WHERE workspace_id = {workspace:UUID}
    AND hour BETWEEN toDateTime({from:UInt32}, 'UTC') AND toDateTime({to:UInt32}, 'UTC')
    AND accepted_at >= {since:Int64} AND accepted_at < {until:Int64}
    AND batch_id = {batch:String}
    AND toUInt128(run_id) > toUInt128({after:UUID})
GROUP BY run_id
ORDER BY toUInt128(run_id)
LIMIT {limit:UInt32}
