/** Single runs, the newest first, page by page. */

import { el, emptyState, fill, link } from "../dom.js";
import { filterControls, filtersOf, flagsOf } from "../filters.js";
import { count, duration, exactMoney, moment, money } from "../format.js";
import { live } from "../refresh.js";
import { periodControls, spanOf } from "../period.js";
import { exportMenu } from "../save.js";
import { statusBadge } from "../status.js";
import { table } from "../table.js";

const PAGE = 50;

export const title = "Runs";

/** Show a page of the runs of these days that pass the filters. */
export async function show(root, page) {
  const span = spanOf(page);
  const question = { ...span, ...filtersOf(page) };
  const cursor = page.params.get("cursor");
  const list = el("section", { class: "panel" });
  let rows = [];
  const view = () => ({ name: "tallyrun-runs", columns: COLUMNS, rows });
  root.append(el("div", { class: "controls" }, periodControls(page), exportMenu({ question, view })), filterControls(page, span), list);
  const load = () => page.api.get("/api/runs", { ...question, ...flagsOf(page), limit: PAGE, cursor });
  const render = (answer) => {
    rows = answer.runs;
    if (!rows.length) return void fill(list, nothing(page, cursor));
    fill(list, runTable(page, span.tz, rows), pager(page, cursor, answer.nextCursor));
  };
  if (cursor) render(await load()); // a later page does not change under the reader
  else await live(page, root, span.tz, load, render);
}

const COLUMNS = [
  ["run_id", (run) => run.runId], ["accepted_at", (run) => run.acceptedAt], ["status", (run) => run.status],
  ["provider", (run) => run.provider], ["model", (run) => run.model], ["prompt_id", (run) => run.promptId],
  ["user", (run) => run.user], ["total_tokens", (run) => run.totalTokens], ["cost_usd", (run) => run.cost],
  ["latency_ms", (run) => run.latency], ["error", (run) => run.errorCode], ["executions", (run) => run.executions],
];

function runTable(page, zone, rows) {
  const columns = [
    { title: "Accepted", cell: (run) => link(page.href("run", { id: run.runId, tz: zone }), moment(run.acceptedAt, zone)) },
    { title: "Status", cell: (run) => [statusBadge(run.status), run.errorCode && el("small", {}, ` ${run.errorCode}`)] },
    { title: "Model", cell: (run) => [run.model || "–", el("small", {}, ` ${run.provider}`)] },
    { title: "Prompt", cell: (run) => run.promptId ?? "–" },
    { title: "User", cell: (run) => run.user || "–" },
    { title: "Tokens", number: true, cell: (run) => count(run.totalTokens) },
    { title: "Cost", number: true, cell: costOf },
    { title: "Latency", number: true, cell: (run) => duration(run.latency) },
  ];
  return table({ id: "runs", caption: "Runs, the newest first", hideCaption: true, columns, rows });
}

function costOf(run) {
  if (run.cost !== null) return el("span", { title: exactMoney(run.cost) }, money(run.cost));
  return run.status === "accepted" ? "–" : el("span", { class: "warn" }, "unpriced");
}

function pager(page, cursor, next) {
  const first = cursor && link(page.with({ cursor: null }), "Newest");
  const older = next && el("a", { id: "older", class: "button", href: page.with({ cursor: next }) }, "Older runs");
  return el("nav", { class: "pager", "aria-label": "Pages" }, first, older || el("span", { class: "soft" }, "The oldest of these days are shown."));
}

function nothing(page, cursor) {
  if (cursor) return emptyState("No more runs", null, link(page.with({ cursor: null }), "To the newest"));
  const filtered = Object.keys({ ...filtersOf(page), ...flagsOf(page) }).length > 0;
  const action = filtered ? link(page.href("runs", spanOf(page)), "Without filters") : link(page.href("start"), "Get started");
  return emptyState("No runs here", filtered ? "No run of these days passes the filters." : "Nothing ran on these days.", action);
}
