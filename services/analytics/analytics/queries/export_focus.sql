-- FOCUS 1.2 (https://focus.finops.org/focus-specification/v1-2/): a charge for each hour, model, kind of token, key, tier,
-- user and set of labels, of the executions that pass the filters and have a price. Prices are per million tokens, and so
-- is PricingQuantity. A share of the charges, from one hash on and before another, keeps a page small.
WITH
    in_order AS (
        SELECT
            *,
            hour,
            toInt64(JSONExtractUInt(price_context, 'input_audio')) AS input_audio,
            toInt64(JSONExtractUInt(price_context, 'output_audio')) AS output_audio,
            toInt64(JSONExtractUInt(price_context, 'web_searches')) AS searches,
            -- Components add up to the total; where a record has none, the total is one.
            if(empty(cost.components), map('tokens', ifNull(cost.total, 0)), cost.components) AS parts
        FROM runs FINAL
        PREWHERE accepted_at >= {since:Int64} AND accepted_at < {until:Int64}
        WHERE workspace_id = {workspace:UUID}
            AND hour BETWEEN toDateTime({from:UInt32}, 'UTC') AND toDateTime({to:UInt32}, 'UTC')
            AND cost.priced AND (cost.total != 0 OR notEmpty(list_components))
    ),
    charges AS (
        SELECT
            in_order.hour AS hour,
            toString(in_order.provider) AS provider,
            if(in_order.served_model = '', toString(in_order.model), toString(in_order.served_model)) AS sku,
            toString(in_order.model) AS model,
            toString(in_order.service_tier) AS tier,
            if(in_order.key_id = toUUID('00000000-0000-0000-0000-000000000000'), NULL, toString(in_order.key_id)) AS key,
            toString(in_order.user) AS user,
            toJSONString(in_order.labels) AS tags,
            if(empty(in_order.list_components), parts, in_order.list_components) AS list_parts,
            kind,
            parts[kind] AS amount,
            if(mapContains(list_parts, kind), list_parts[kind], list_parts['total']) AS list_amount,
            multiIf(
                kind = 'input',
                toInt64(usage.input)
                    - if(mapContains(parts, 'cached'), toInt64(usage.cached), 0)
                    - if(mapContains(parts, 'cache_writes'), toInt64(usage.cache_writes), 0)
                    - if(mapContains(parts, 'input_audio'), input_audio, 0),
                kind = 'output',
                toInt64(usage.output)
                    - if(mapContains(parts, 'reasoning'), toInt64(usage.reasoning), 0)
                    - if(mapContains(parts, 'output_audio'), output_audio, 0),
                kind = 'cached', toInt64(usage.cached),
                kind = 'cache_writes', toInt64(usage.cache_writes),
                kind = 'reasoning', toInt64(usage.reasoning),
                kind = 'input_audio', input_audio,
                kind = 'output_audio', output_audio,
                kind = 'web_searches', searches,
                kind = 'tokens', toInt64(usage.input + usage.output),
                1
            ) AS quantity,
            kind IN ('web_searches', 'requests') AS of_calls,
            cityHash64(provider, sku, model, tier, ifNull(key, ''), user, tags, kind) AS place
        FROM in_order
        ARRAY JOIN mapKeys(parts) AS kind
        WHERE {{passes}}
    )
SELECT
    sum(amount) AS BilledCost,
    toString({workspace:UUID}) AS BillingAccountId,
    CAST(NULL, 'Nullable(String)') AS BillingAccountName,
    'USD' AS BillingCurrency,
    toDateTime(addMonths(toStartOfMonth(hour), 1), 'UTC') AS BillingPeriodEnd,
    toDateTime(toStartOfMonth(hour), 'UTC') AS BillingPeriodStart,
    'Usage' AS ChargeCategory,
    CAST(NULL, 'Nullable(String)') AS ChargeClass,
    concat(sku, ', ', replaceAll(toString(kind), '_', ' ')) AS ChargeDescription,
    'Usage-Based' AS ChargeFrequency,
    addHours(hour, 1) AS ChargePeriodEnd,
    hour AS ChargePeriodStart,
    sum(quantity) AS ConsumedQuantity,
    if(of_calls, 'Requests', 'Tokens') AS ConsumedUnit,
    sum(amount) AS ContractedCost,
    sum(amount) AS EffectiveCost,
    provider AS InvoiceIssuerName,
    sum(list_amount) AS ListCost,
    'Standard' AS PricingCategory,
    if(of_calls, toDecimal128(sum(quantity), 6), toDecimal128(sum(quantity), 6) / 1000000) AS PricingQuantity,
    if(of_calls, 'Requests', '1000000 Tokens') AS PricingUnit,
    provider AS ProviderName,
    provider AS PublisherName,
    'AI and Machine Learning' AS ServiceCategory,
    concat(provider, ' API') AS ServiceName,
    'Generative AI' AS ServiceSubcategory,
    concat(provider, '/', sku) AS SkuId,
    toString(kind) AS SkuMeter,
    key AS SubAccountId,
    tags AS Tags,
    model AS x_RequestedModel,
    count() AS x_Executions,
    tier AS x_ServiceTier,
    user AS x_User
FROM charges
WHERE place >= {first_place:UInt64} AND place <= {last_place:UInt64}
GROUP BY hour, provider, sku, model, tier, key, user, tags, kind, of_calls, place
HAVING BilledCost != 0 OR ListCost != 0
ORDER BY hour, place
SETTINGS date_time_output_format = 'iso', format_csv_null_representation = ''
