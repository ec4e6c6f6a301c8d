-- For how many days each table is kept that is not kept for ever.
SELECT replaceRegexpOne(name, '_local$', '') AS table, toUInt32OrZero(extract(create_table_query, 'toIntervalDay\\((\\d+)\\)')) AS days
FROM system.tables
WHERE database = currentDatabase() AND days > 0
