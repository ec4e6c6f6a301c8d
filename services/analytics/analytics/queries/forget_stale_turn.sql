-- What is left of a turn that was taken away.
DROP TABLE IF EXISTS migrating_stale SYNC
