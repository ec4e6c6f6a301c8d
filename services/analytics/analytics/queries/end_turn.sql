-- The next one may migrate.
DROP TABLE IF EXISTS migrating SYNC
