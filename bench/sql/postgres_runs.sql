CREATE TABLE runs (
    workspace_id uuid NOT NULL, accepted_at timestamptz NOT NULL, model text NOT NULL, status text NOT NULL,
    prompt_id text NOT NULL, input_tokens bigint NOT NULL, output_tokens bigint NOT NULL, cost numeric(38, 18) NOT NULL,
    latency_ms bigint NOT NULL
);

INSERT INTO runs
SELECT
    '00000000-0000-0000-0000-000000000001',
    now() - (interval '365 days' * (n::float / %(runs)s)),
    (ARRAY['gpt-4o', 'gpt-4o-mini', 'gpt-4.1', 'o5-mini', 'claude-sonnet-4-5', 'claude-haiku-4-5'])[1 + n %% 6],
    CASE WHEN n %% 20 = 0 THEN 'failed' ELSE 'succeeded' END,
    'prompt-' || floor(power((n * 7919 %% 1048576) / 1048576.0, 4) * 5000)::int,
    200 + n * 31 %% 2048,
    20 + n * 17 %% 512,
    ((200 + n * 31 %% 2048) * 2.5 + (20 + n * 17 %% 512) * 10) / 1000000,
    300 + n * 13 %% 3810
FROM generate_series(1, %(runs)s) AS n;

CREATE INDEX ON runs (workspace_id, accepted_at);

VACUUM ANALYZE runs
