-- Repricings that were written and not finished.
SELECT workspace_id, version, toUnixTimestamp(min(repricings.hour)) AS first_hour, toUnixTimestamp(max(repricings.hour)) AS last_hour
FROM repricings FINAL
WHERE done = 0 AND (empty({workspaces:Array(UUID)}) OR workspace_id IN {workspaces:Array(UUID)})
GROUP BY workspace_id, version
ORDER BY version
