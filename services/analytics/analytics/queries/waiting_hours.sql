-- Hours in which runs may wait for their end: those whose sums say so, and those that are not counted yet.
SELECT toUnixTimestamp(hour) AS at
FROM usage_hours FINAL
WHERE workspace_id = {workspace:UUID}
    AND hour >= toStartOfHour(toDateTime({from:UInt32}, 'UTC')) AND hour < toDateTime({to:UInt32}, 'UTC')
    AND notEmpty(waiting)
UNION DISTINCT
SELECT toUnixTimestamp(hour)
FROM dirty_hours
WHERE workspace_id = {workspace:UUID} AND state = 'fresh'
    AND hour >= toStartOfHour(toDateTime({from:UInt32}, 'UTC')) AND hour < toDateTime({to:UInt32}, 'UTC')
GROUP BY dirty_hours.hour, mark
HAVING sum(sign) > 0
