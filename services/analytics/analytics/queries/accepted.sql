-- These runs as they were accepted.
SELECT run_id, accepted_at, provider, model, prompt_id, user, operation, labels, batch_id, custom_id, key_id
FROM accepted
WHERE workspace_id = {workspace:UUID}
    AND hour BETWEEN toDateTime({from:UInt32}, 'UTC') AND toDateTime({to:UInt32}, 'UTC')
    AND run_id IN {run_ids:Array(UUID)}
LIMIT 1 BY run_id
