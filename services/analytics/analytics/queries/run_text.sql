-- What was said in one execution, as long as it is kept.
SELECT output, response, prompt_preview
FROM texts
WHERE workspace_id = {workspace:UUID}
    AND hour = toDateTime({hour:UInt32}, 'UTC')
    AND run_id = {run_id:UUID}
    AND execution_id = {execution_id:UUID}
LIMIT 1
