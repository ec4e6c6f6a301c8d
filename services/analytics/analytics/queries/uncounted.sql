-- Append time of the workspace's oldest record that is stored and not counted yet; 0: all are counted.
SELECT min(appended_at) AS since
FROM (
    SELECT minIf(dirty_hours.appended_at, sign = 1) AS appended_at
    FROM dirty_hours
    WHERE workspace_id = {workspace:UUID} AND state = 'fresh'
    GROUP BY hour, mark
    HAVING sum(sign) > 0
)
