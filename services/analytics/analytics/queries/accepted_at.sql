-- When a run was accepted, whether it has ended or not.
SELECT accepted_at FROM accepted WHERE workspace_id = {workspace:UUID} AND run_id = {run_id:UUID}
UNION ALL
SELECT accepted_at FROM runs WHERE workspace_id = {workspace:UUID} AND run_id = {run_id:UUID}
LIMIT 1
