-- Seconds since the migrator's last sign of life; no row where nobody migrates.
SELECT dateDiff('second', metadata_modification_time, now())
FROM system.tables
WHERE database = currentDatabase() AND name = 'migrating'
