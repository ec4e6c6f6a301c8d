-- What was said in the executions of a page, as long as it is kept: `from` and `to` are its first and last offset in each
-- partition. Arrays count from 1.
SELECT execution_id, output, response
FROM texts
WHERE workspace_id = {workspace:UUID}
    AND hour BETWEEN toDateTime({first_hour:UInt32}, 'UTC') AND toDateTime({last_hour:UInt32}, 'UTC')
    AND batch_id = {batch:String}
    AND log_partition IN {partitions:Array(UInt16)}
    AND log_offset BETWEEN {from:Array(UInt64)}[log_partition + 1] AND {to:Array(UInt64)}[log_partition + 1]
LIMIT 1 BY execution_id
