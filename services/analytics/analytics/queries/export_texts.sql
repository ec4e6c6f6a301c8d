-- The same with what was said, as long as it is kept.
SELECT r.*, t.prompt_preview AS prompt_preview, t.output AS output
FROM (
    {{export_runs}}
) AS r
LEFT JOIN (
    SELECT toString(execution_id) AS execution_id, prompt_preview, output
    FROM texts
    WHERE workspace_id = {workspace:UUID}
        AND hour BETWEEN toDateTime({from:UInt32}, 'UTC') AND toDateTime({to:UInt32}, 'UTC')
        AND accepted_at >= {since:Int64} AND accepted_at < {until:Int64}
        AND expires_on > today()
    LIMIT 1 BY execution_id
) AS t ON t.execution_id = r.execution_id
ORDER BY r.accepted_at, toUInt128(toUUID(r.run_id)), r.execution
SETTINGS date_time_output_format = 'iso', format_csv_null_representation = '', output_format_arrow_compression_method = 'none'
