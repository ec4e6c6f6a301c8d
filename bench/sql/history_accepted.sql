-- The runs of a month as they were accepted.
INSERT INTO accepted (
    workspace_id, run_id, accepted_at, deadline, user, operation, provider, model, prompt_id, labels, key_id
)
SELECT
    workspace_id, run_id, accepted_at, accepted_at + 86400000, user, operation, provider, model, prompt_id, labels, key_id
FROM runs
WHERE toYYYYMM(hour) = {month:UInt32}
