/** What can be shown of runs: each measure's name, how its numbers read, and whether they can be added up. */

import { count, duration, exactMoney, money, percent } from "./format.js";

const DOLLARS = { tickprefix: "$", hoverformat: ",.6~f" };

export const MEASURES = {
  cost: { title: "Cost", format: money, exact: exactMoney, sum: true, axis: DOLLARS },
  runs: { title: "Runs", format: count, sum: true },
  failed: { title: "Did not succeed", format: count, sum: true },
  successRate: { title: "Success", format: percent, axis: { ticksuffix: "%", range: [0, 100] } },
  totalTokens: { title: "Tokens", format: count, sum: true },
  inputTokens: { title: "Tokens in", format: count, sum: true },
  outputTokens: { title: "Tokens out", format: count, sum: true },
  cachedTokens: { title: "Cached tokens", format: count, sum: true },
  unpricedRuns: { title: "Unpriced runs", format: count, sum: true },
  repeatedExecutions: { title: "Repeats", format: count, sum: true },
  avgCost: { title: "Cost per run", format: money, exact: exactMoney, axis: DOLLARS },
  avgLatency: { title: "Mean latency", format: duration, axis: { ticksuffix: " ms", tickformat: ",d" } },
  cacheSavings: { title: "Saved by caches", format: money, exact: exactMoney, sum: true, axis: DOLLARS },
};

/** The columns of every figure, for CSV: pairs of heading and `group => value`, amounts with all of their digits. */
export const FIGURE_COLUMNS = [
  ["runs", "runs"], ["succeeded", "succeeded"], ["failed", "failed"], ["success_rate", "successRate"],
  ["cost_usd", "cost"], ["avg_cost_usd", "avgCost"], ["unpriced_runs", "unpricedRuns"],
  ["repeated_executions", "repeatedExecutions"], ["repeated_cost_usd", "repeatedCost"], ["cache_savings_usd", "cacheSavings"],
  ["input_tokens", "inputTokens"], ["output_tokens", "outputTokens"], ["cached_tokens", "cachedTokens"],
  ["cache_write_tokens", "cacheWriteTokens"], ["reasoning_tokens", "reasoningTokens"], ["total_tokens", "totalTokens"],
  ["avg_latency_ms", "avgLatency"], ["rated", "rated"], ["good_outcomes", "goodOutcomes"], ["mean_score", "score"],
].map(([heading, name]) => [heading, (group) => group[name]]);
