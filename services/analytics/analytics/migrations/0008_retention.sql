-- How long runs are kept is set at each start (retain_runs.sql), by whole months, so that an hour is there or is not.
-- A part is dropped when all of it has expired, and nothing is rewritten when the time is changed.
ALTER TABLE runs MODIFY SETTING ttl_only_drop_parts = 1, materialize_ttl_recalculate_only = 1;

ALTER TABLE accepted MODIFY SETTING ttl_only_drop_parts = 1, materialize_ttl_recalculate_only = 1;

ALTER TABLE batch_runs MODIFY SETTING ttl_only_drop_parts = 1, materialize_ttl_recalculate_only = 1;

ALTER TABLE repricings MODIFY SETTING ttl_only_drop_parts = 1, materialize_ttl_recalculate_only = 1;

ALTER TABLE outcomes MODIFY SETTING ttl_only_drop_parts = 1, materialize_ttl_recalculate_only = 1;

ALTER TABLE texts MODIFY SETTING materialize_ttl_recalculate_only = 1;
