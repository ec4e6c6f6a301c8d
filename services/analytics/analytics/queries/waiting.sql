-- Runs of these hours that were accepted and have not ended, as far as what was asked for is known of them.
SELECT countIf(until > {lost_before:Int64}) AS in_flight, countIf(until <= {lost_before:Int64}) AS lost
FROM (
    SELECT intDiv(max(deadline) + 59999, 60000) * 60000 AS until
    FROM accepted
    WHERE workspace_id = {workspace:UUID}
        AND hour IN {hours:Array(DateTime('UTC'))}
        AND accepted_at >= toInt64({from:UInt32}) * 1000 AND accepted_at < toInt64({to:UInt32}) * 1000
        AND (empty({model:Array(String)}) OR model IN {model:Array(String)})
        AND (empty({provider:Array(String)}) OR provider IN {provider:Array(String)})
        AND (empty({prompt:Array(String)}) OR prompt_id IN {prompt:Array(String)})
        AND (empty({user:Array(String)}) OR user IN {user:Array(String)})
        AND (empty({batch:Array(String)}) OR batch_id IN {batch:Array(String)})
        AND arrayAll((name, value) -> labels[name] = value, {label_names:Array(String)}, {label_values:Array(String)})
        AND run_id NOT IN (
            SELECT run_id
            FROM runs
            WHERE workspace_id = {workspace:UUID} AND hour IN {hours:Array(DateTime('UTC'))}
        )
    GROUP BY run_id
)
