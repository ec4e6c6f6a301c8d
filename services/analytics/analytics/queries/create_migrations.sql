-- Where it is recorded which migrations were applied.
CREATE TABLE IF NOT EXISTS migrations (name String, applied_at DateTime('UTC') DEFAULT now())
ENGINE = MergeTree
ORDER BY name
