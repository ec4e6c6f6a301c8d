-- How many tokens this workspace's last answers of a model had. Read in the order of the key, so a long history costs nothing.
SELECT
    count() AS runs,
    toUInt64(ifNotFinite(avg(tokens), 0)) AS mean,
    quantileExact(0.25)(tokens) AS lower,
    quantileExact(0.75)(tokens) AS upper
FROM (
    SELECT usage.output AS tokens
    FROM runs
    WHERE workspace_id = {workspace:UUID} AND provider = {provider:String} AND model = {model:String} AND status = 'succeeded'
    ORDER BY workspace_id DESC, hour DESC
    LIMIT 10000
)
