-- Users that runs name, what their runs cost, and what runs cost that name none: of each day, and of all as day ''.
SELECT
    if(grouping(hour_day) = 1, '', toString(hour_day)) AS day,
    uniqExactIf(user, user != '') AS users,
    sumIf(ifNull(cost.total, 0), user != '') AS named_cost,
    sumIf(ifNull(cost.total, 0), user = '') AS unnamed_cost
FROM (
    SELECT toDate(hour) AS hour_day, user, cost
    FROM runs FINAL
    WHERE workspace_id = {workspace:UUID}
        AND hour >= toDateTime({from:UInt32}, 'UTC') AND hour < toDateTime({to:UInt32}, 'UTC')
)
GROUP BY GROUPING SETS ((hour_day), ())
