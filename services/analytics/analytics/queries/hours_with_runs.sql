-- How many executions each hour has, of those hours that have any.
SELECT toInt64(toUnixTimestamp(hour)) * 1000 AS at, count() AS executions
FROM runs
WHERE workspace_id = {workspace:UUID}
    AND hour BETWEEN toStartOfHour(toDateTime(intDiv({since:Int64}, 1000), 'UTC')) AND toDateTime(intDiv({until:Int64}, 1000), 'UTC')
    AND accepted_at >= {since:Int64} AND accepted_at < {until:Int64}
GROUP BY hour
ORDER BY hour
