-- How many executions each second of an hour has, of those seconds that have any.
SELECT intDiv(accepted_at, 1000) * 1000 AS at, count() AS executions
FROM runs
WHERE workspace_id = {workspace:UUID}
    AND hour = toStartOfHour(toDateTime(intDiv({since:Int64}, 1000), 'UTC'))
    AND accepted_at >= {since:Int64} AND accepted_at < {until:Int64}
GROUP BY at
ORDER BY at
