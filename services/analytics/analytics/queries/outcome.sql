-- What was said of a run last.
SELECT success, score, note, recorded_at
FROM outcomes FINAL
WHERE workspace_id = {workspace:UUID} AND hour = toDateTime({hour:UInt32}, 'UTC') AND run_id = {run_id:UUID}
