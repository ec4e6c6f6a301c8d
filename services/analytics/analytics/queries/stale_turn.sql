-- Of those that find a migrator silent, one can rename its table.
RENAME TABLE migrating TO migrating_stale
