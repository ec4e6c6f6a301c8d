-- Single runs that were accepted and have not ended. Past their deadline no call starts: they end by themselves.
SELECT uniqExact(run_id) AS runs
FROM accepted
WHERE workspace_id = {workspace:UUID}
    AND hour BETWEEN toDateTime({from:UInt32}, 'UTC') AND toDateTime({to:UInt32}, 'UTC')
    AND batch_id = ''
    AND deadline > {now:Int64}
    AND run_id NOT IN (
        SELECT run_id
        FROM runs
        WHERE workspace_id = {workspace:UUID}
            AND hour BETWEEN toDateTime({from:UInt32}, 'UTC') AND toDateTime({to:UInt32}, 'UTC')
            AND batch_id = ''
    )
