-- Previews of these runs, as long as their texts are kept.
SELECT run_id, prompt_preview
FROM texts
WHERE workspace_id = {workspace:UUID}
    AND hour IN {hours:Array(DateTime('UTC'))}
    AND run_id IN {run_ids:Array(UUID)}
LIMIT 1 BY run_id
