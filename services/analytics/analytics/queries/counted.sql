-- Append time of the workspace's oldest record that is stored and not counted yet (0: all are counted), and when the
-- oldest run was accepted that has not ended and may yet end (0: there is none).
SELECT
    (
        SELECT min(appended_at)
        FROM (
            SELECT minIf(dirty_hours.appended_at, sign = 1) AS appended_at
            FROM dirty_hours
            WHERE workspace_id = {workspace:UUID} AND state = 'fresh'
            GROUP BY hour, mark
            HAVING sum(sign) > 0
        )
    ) AS since,
    (
        SELECT min(arrayMin(x -> if(x.until > {lost_before:Int64}, x.oldest, {never:Int64}), waiting))
        FROM usage_days FINAL
        WHERE workspace_id = {workspace:UUID} AND notEmpty(waiting)
    ) AS oldest
