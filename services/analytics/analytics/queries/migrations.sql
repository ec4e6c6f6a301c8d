-- Migrations that were applied.
SELECT name FROM migrations
