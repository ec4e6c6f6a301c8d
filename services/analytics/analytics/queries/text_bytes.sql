-- How long the texts of a stretch of time are, in bytes.
SELECT sum(length(ifNull(output, '')) + length(prompt_preview)) AS bytes
FROM texts
WHERE workspace_id = {workspace:UUID}
    AND hour BETWEEN toDateTime({from:UInt32}, 'UTC') AND toDateTime({to:UInt32}, 'UTC')
    AND accepted_at >= {since:Int64} AND accepted_at < {until:Int64}
