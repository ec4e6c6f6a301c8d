/** How long runs take, and how they fail. */

import { makeChart } from "../chart.js";
import { completenessLine } from "../complete.js";
import { el, emptyState, field, fill, link, select } from "../dom.js";
import { picked } from "../explore/breakdown.js";
import { DIMENSIONS, dimensionName, filterControls, filtersOf } from "../filters.js";
import { count, duration, percent } from "../format.js";
import { live } from "../refresh.js";
import { periodControls, spanOf } from "../period.js";
import { exportMenu } from "../save.js";
import { table } from "../table.js";

const TOP = 12;
const PERCENTILES = [["p50", "chart-1"], ["p90", "chart-6"], ["p99", "chart-4"]];
const NOT_SUCCEEDED = ["failed", "expired", "cancelled"];

export const title = "Latency";

/** Show percentiles by a dimension, and the errors of the runs that did not succeed. */
export async function show(root, page) {
  const span = spanOf(page);
  const question = { ...span, ...filtersOf(page) };
  const by = page.params.get("by") ?? "model";
  const [status, body] = [el("div", { class: "line" }), el("div", { class: "view" })];
  let latest = null;
  const view = () => ({ name: `tallyrun-latency-by-${by}`, columns: csvColumns(by), rows: latest.latency.groups });
  const onchange = (event) => page.set({ by: event.target.value });
  const choice = field("By", select({ id: "by", onchange }, [...Object.entries(DIMENSIONS), ["day", "Day"]], by));
  root.append(el("div", { class: "controls" }, periodControls(page), choice, exportMenu({ question, view })), filterControls(page, span), status, body);
  const chart = makeChart(page, { title: `Latency by ${dimensionName(by).toLowerCase()}`, label: "Median, 90th and 99th percentile" });
  const [groups, errors] = [el("section", { class: "panel" }), el("section", { class: "panel" })];
  await live(page, root, span.tz, loader(page, question, by), (answer) => {
    latest = answer;
    fill(status, completenessLine(page, answer.errors, span.tz, question));
    if (!answer.latency.groups.length && !answer.errors.totals.runs) return void fill(body, nothing(page));
    if (!groups.isConnected) fill(body, chart.root, groups, errors);
    fill(groups, percentileTable(page, question, by, answer.latency));
    fill(errors, errorTable(page, question, answer));
    chart.update(latencyChart(page, question, by, answer.latency));
  });
}

function loader(page, question, by) {
  return async () => {
    const [latency, errors, all] = await Promise.all([
      page.api.get("/api/analytics/latency", { ...question, by }),
      page.api.get("/api/analytics/usage", { ...question, status: NOT_SUCCEEDED, by: "error" }),
      page.api.get("/api/analytics/usage", question),
    ]);
    return { latency, errors, runs: all.totals.runs };
  };
}

function percentileTable(page, question, by, { groups }) {
  const text = (group) => group.by[by] || "(none)";
  const time = (name, heading) => ({ title: heading, number: true, cell: (group) => duration(group[name]), sort: (group) => group[name] });
  const columns = [
    { title: dimensionName(by), cell: (group) => link(page.href("runs", { ...question, ...picked(group) }), text(group)), sort: text },
    { title: "Runs", number: true, cell: (group) => count(group.runs), sort: (group) => group.runs },
    time("shortest", "Shortest"), time("p50", "Median"), time("p90", "p90"), time("p95", "p95"), time("p99", "p99"), time("longest", "Longest"),
  ];
  const header = el("header", {}, el("h2", {}, "Percentiles"), el("span", { class: "soft" }, "of runs that succeeded, retries included"));
  return [header, table({ id: "percentiles", caption: "Latency percentiles", hideCaption: true, columns, rows: groups, empty: "No run succeeded." })];
}

function errorTable(page, question, { errors, runs }) {
  const columns = [
    { title: "Error", cell: ({ by }) => link(page.href("runs", { ...question, ...(by.error === null ? { status: NOT_SUCCEEDED } : { error: by.error }) }), by.error ?? "Other"), sort: ({ by }) => by.error },
    { title: "Runs", number: true, cell: (group) => count(group.runs), sort: (group) => group.runs },
    { title: "Of all runs", number: true, cell: (group) => percent((group.runs / runs) * 100), sort: (group) => group.runs },
  ];
  const rows = errors.groups.filter((group) => group.runs > 0).sort((a, b) => b.runs - a.runs);
  const empty = el("p", { class: "soft" }, "Every run of these days succeeded.");
  return [el("header", {}, el("h2", {}, "Errors")), table({ id: "errors", caption: "Runs that did not succeed, by error", hideCaption: true, columns, rows, empty })];
}

function latencyChart(page, question, by, latency) {
  const groups = latency.groups.slice(0, TOP);
  const names = groups.map((group) => group.by[by] || "(none)");
  const traces = PERCENTILES.map(([name, color]) => ({
    type: "bar", orientation: "h", name, y: names, x: groups.map((group) => group[name]), marker: { color },
  }));
  const layout = {
    barmode: "group", hovermode: "closest", height: 110 + 44 * groups.length,
    xaxis: { ticksuffix: " ms", showgrid: true }, yaxis: { type: "category", autorange: "reversed", rangemode: "normal" },
    legend: { orientation: "h", y: -0.08, x: 0, traceorder: "normal" },
  };
  const columns = [{ title: dimensionName(by), cell: (group) => group.by[by] || "(none)" }, ...PERCENTILES.map(([name]) => ({ title: name, number: true, cell: (group) => duration(group[name]) }))];
  return { traces, layout, table: table({ caption: "Latency", hideCaption: true, columns, rows: groups }) };
}

function csvColumns(by) {
  const names = ["runs", "shortest", "p50", "p90", "p95", "p99", "longest"];
  return [[by, (group) => group.by[by]], ...names.map((name) => [name === "runs" ? name : `${name}_ms`, (group) => group[name]])];
}

function nothing(page) {
  return emptyState("No runs here", "No run of these days passes the filters.", link(page.href("latency", spanOf(page)), "Without filters"));
}
