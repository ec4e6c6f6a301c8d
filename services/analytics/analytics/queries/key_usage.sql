-- How often each provider key was used.
SELECT key_id, sum(runs) AS usage_count, max(last_completed_at) AS last_used_at
FROM usage_days FINAL
WHERE workspace_id = {workspace:UUID} AND key_id != toUUID('00000000-0000-0000-0000-000000000000')
GROUP BY key_id
HAVING usage_count > 0
ORDER BY usage_count DESC
