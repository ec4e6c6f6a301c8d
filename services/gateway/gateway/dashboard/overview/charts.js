/** Cost, runs and latency over time. */

import { el, link } from "../dom.js";
import { makeChart } from "../chart.js";
import { count, duration, exactMoney, percent } from "../format.js";
import { MEASURES } from "../measures.js";
import { bars, beforeLine, meanLine, overTime } from "../series.js";
import { daysOfBucket } from "../buckets.js";
import { table } from "../table.js";
import { spanOf } from "../period.js";
import { filtersOf } from "../filters.js";

/** Make the three charts; `pick(bucket, key, zone)` opens the runs of a bucket. */
export function overviewCharts(page, pick) {
  let shown = null;
  const onpick = (point) => pick(shown.bucket, shown.buckets[point.pointNumber].key, shown.series.timeZone);
  const cost = makeChart(page, { title: "Cost over time", label: "Cost over time, beside the period before", onpick });
  const runs = makeChart(page, { title: "Runs over time", label: "Runs over time, by how they ended", onpick });
  const latency = makeChart(page, { title: "Mean latency over time", label: "Mean latency of runs that succeeded", onpick });
  const root = el("div", { class: "view" }, cost.root, el("div", { class: "columns" }, runs.root, latency.root));
  const update = (answer) => {
    shown = answer;
    cost.update(costChart(page, answer));
    runs.update(runsChart(page, answer));
    latency.update(latencyChart(page, answer));
  };
  return { root, update };
}

/** The columns of the time series, for CSV: pairs of heading and value. */
export function timeColumns(bucket) {
  const sum = (name) => ({ group }) => group?.[name] ?? 0;
  const mean = (name) => ({ group }) => group?.[name] ?? null;
  return [
    [bucket, ({ key }) => key],
    ["runs", sum("runs")], ["succeeded", sum("succeeded")], ["failed", sum("failed")],
    ["success_rate", mean("successRate")], ["cost_usd", sum("cost")], ["unpriced_runs", sum("unpricedRuns")],
    ["input_tokens", sum("inputTokens")], ["output_tokens", sum("outputTokens")], ["cached_tokens", sum("cachedTokens")],
    ["cache_write_tokens", sum("cacheWriteTokens")], ["reasoning_tokens", sum("reasoningTokens")],
    ["repeated_executions", sum("repeatedExecutions")], ["avg_latency_ms", mean("avgLatency")],
  ];
}

function costChart(page, { bucket, buckets, earlier, series }) {
  const columns = [
    when(page, bucket, series.timeZone),
    { title: "Cost", number: true, cell: ({ group }) => exactMoney(group?.cost ?? 0) },
    { title: "Unpriced runs", number: true, cell: ({ group }) => count(group?.unpricedRuns ?? 0) },
    { title: "Period before", number: true, cell: ({ place }) => exactMoney(earlier[place]?.group?.cost ?? 0) },
  ];
  const traces = [bars(buckets, "cost", "chart-1", "Cost"), beforeLine(buckets, earlier, "cost")];
  return { traces, layout: overTime({ yaxis: MEASURES.cost.axis }), table: numbers("Cost over time", columns, buckets) };
}

function runsChart(page, { bucket, buckets, series }) {
  const columns = [
    when(page, bucket, series.timeZone),
    { title: "Runs", number: true, cell: ({ group }) => count(group?.runs ?? 0) },
    { title: "Succeeded", number: true, cell: ({ group }) => count(group?.succeeded ?? 0) },
    { title: "Did not", number: true, cell: ({ group }) => count(group?.failed ?? 0) },
    { title: "Success", number: true, cell: ({ group }) => percent(group?.successRate) },
  ];
  const traces = [bars(buckets, "succeeded", "chart-3", "Succeeded"), bars(buckets, "failed", "chart-2", "Did not succeed")];
  return { traces, layout: overTime({ barmode: "stack" }), table: numbers("Runs over time", columns, buckets) };
}

function latencyChart(page, { bucket, buckets, series }) {
  const columns = [
    when(page, bucket, series.timeZone),
    { title: "Mean latency", number: true, cell: ({ group }) => duration(group?.avgLatency) },
  ];
  const traces = [meanLine(buckets, "avgLatency", "chart-4", "Mean latency")];
  const layout = overTime({ yaxis: { ticksuffix: " ms", tickformat: ",d" }, showlegend: false });
  return { traces, layout, table: numbers("Mean latency over time", columns, buckets) };
}

function when(page, bucket, zone) {
  const question = { ...spanOf(page), ...filtersOf(page) };
  const cell = ({ key, label, unfinished }) => [link(page.href("runs", { ...question, ...daysOfBucket(key, bucket, zone) }), label), unfinished && " (not over)"];
  return { title: bucket === "hour" ? "Hour" : "Day", cell };
}

function numbers(caption, columns, buckets) {
  return table({ caption, hideCaption: true, columns, rows: buckets.map((bucket, place) => ({ ...bucket, place })) });
}
