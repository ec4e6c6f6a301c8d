-- How many executions each hour has, of those hours that have any.
SELECT toUnixTimestamp(hour) AS hour, count() AS executions
FROM runs
WHERE workspace_id = {workspace:UUID}
    AND hour >= toStartOfHour(toDateTime({from:UInt32}, 'UTC')) AND hour < toDateTime({to:UInt32}, 'UTC')
GROUP BY runs.hour
ORDER BY hour
