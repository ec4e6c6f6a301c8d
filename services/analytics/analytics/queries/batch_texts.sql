-- What was said in the executions at these places of the log, as long as it is kept. The places are in the text of the
-- query: bound parameters travel in the URL.
SELECT execution_id, output, response
FROM texts
WHERE workspace_id = %(workspace)s
    AND hour BETWEEN toDateTime(%(from)s, 'UTC') AND toDateTime(%(to)s, 'UTC')
    AND batch_id = %(batch)s
    AND (log_partition, log_offset) IN %(places)s
LIMIT 1 BY execution_id
