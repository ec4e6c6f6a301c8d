-- So many runs of a workspace, evenly over a span of time that ends at `until` (UTC ms). Seeded by their number: the same
-- history every time. Prices are of six models; 5,000 prompts, few of which are frequent; 1 run in 20 failed.
INSERT INTO runs (
    workspace_id, run_id, execution_id, accepted_at, completed_at, status, user, operation, provider, model,
    served_model, service_tier, finish_reason, prompt_id, labels, usage, cost, attempts, latency_ms, queued_ms, key_id
)
WITH
    {workspace:UUID} AS workspace,
    sipHash128(workspace, number, 'run') AS run,
    sipHash64(workspace, number) AS chance,
    toInt64({from:Int64} + intDiv(toInt128(number) * {span:Int64}, {runs:UInt64})) AS at,
    bitAnd(chance, 7) % 6 AS which,
    200 + bitAnd(bitShiftRight(chance, 8), 2047) AS input,
    20 + bitAnd(bitShiftRight(chance, 20), 511) AS output,
    bitAnd(bitShiftRight(chance, 30), 127) * 30 + 300 AS latency,
    bitAnd(bitShiftRight(chance, 40), 31) = 0 OR bitAnd(bitShiftRight(chance, 45), 63) = 0 AS is_failed,
    ['gpt-4o', 'gpt-4o-mini', 'gpt-4.1', 'o5-mini', 'claude-sonnet-4-5', 'claude-haiku-4-5'] AS names,
    ['2.5', '0.15', '2', '1.1', '3', '1'] AS input_prices,
    ['10', '0.6', '8', '4.4', '15', '5'] AS output_prices,
    toDecimal128(input_prices[which + 1], 18) * input / 1000000 AS of_input,
    toDecimal128(output_prices[which + 1], 18) * output / 1000000 AS of_output,
    names[which + 1] AS name
SELECT
    workspace,
    reinterpretAsUUID(run),
    reinterpretAsUUID(run),
    at,
    at + latency + 40,
    if(is_failed, 'failed', 'succeeded'),
    concat('user-', toString(bitAnd(bitShiftRight(chance, 12), 255))),
    'chat',
    if(which < 4, 'openai', 'anthropic'),
    name,
    name,
    'default',
    'stop',
    concat('prompt-', toString(toUInt32(pow(bitAnd(bitShiftRight(chance, 16), 1048575) / 1048576, 4) * 5000))),
    map('team', concat('team-', toString(bitAnd(bitShiftRight(chance, 50), 15)))),
    (input, if(is_failed, 0, output), 0, 0, 0),
    (true, if(is_failed, of_input, of_input + of_output), map('input', of_input, 'output', if(is_failed, toDecimal128(0, 18), of_output)), 'bench', NULL),
    '[]',
    latency,
    40,
    reinterpretAsUUID(toUInt128(1 + bitAnd(bitShiftRight(chance, 54), 3)))
FROM numbers({first:UInt64}, {count:UInt64})
