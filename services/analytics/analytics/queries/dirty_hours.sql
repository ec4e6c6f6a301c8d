-- The marks that stand, those first that are due first: settling ones a minute later (SETTLE_MS). A backlog, as a migration
-- leaves it, is read a part at a time.
SELECT workspace_id, toUnixTimestamp(hour) AS hour, state = 'fresh' AS fresh, mark, maxIf(dirty_hours.marked_at, sign = 1) AS marked_at
FROM dirty_hours
GROUP BY workspace_id, dirty_hours.hour, state, mark
HAVING sum(sign) > 0
ORDER BY marked_at + if(fresh, 0, 60000)
LIMIT 50000
