-- How many runs of a batch reached the log.
SELECT uniqExact(run_id) AS accepted
FROM accepted
WHERE workspace_id = {workspace:UUID}
    AND hour BETWEEN toDateTime({from:UInt32}, 'UTC') AND toDateTime({to:UInt32}, 'UTC')
    AND accepted_at >= {since:Int64} AND accepted_at < {until:Int64}
    AND batch_id = {batch:String}
