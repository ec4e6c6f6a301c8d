/** One run: how it ended, each call to the provider, what it cost and why, and what its users said of it. */

import { el, emptyState, fill, link } from "../dom.js";
import { count, duration, exactMoney, moment, ownZone } from "../format.js";
import { outcomePanel } from "../run/outcome.js";
import { statusBadge } from "../status.js";
import { facts, table } from "../table.js";

const AGAIN_SECONDS = 2;

export const title = "Run";

/** Show the run that the address names; one that has not ended is asked for again. */
export async function show(root, page) {
  const id = page.params.get("id");
  if (!id) return void root.append(emptyState("Which run?", "The address names none.", link(page.href("runs"), "To the runs")));
  const zone = page.params.get("tz") || ownZone();
  const load = () => page.api.get(`/api/runs/${encodeURIComponent(id)}`);
  const run = await load();
  fill(root, ...parts(page, zone, run));
  if (run.status !== "accepted") return;
  page.every(AGAIN_SECONDS, async () => {
    const now = await load();
    if (now.status !== "accepted") page.again();
  });
}

function parts(page, zone, run) {
  return [
    summary(page, zone, run),
    el("div", { class: "columns" }, costPanel(run), tokenPanel(run)),
    attemptPanel(zone, run),
    run.status !== "accepted" && outcomePanel(page, zone, run),
    textPanel("Answer", run.output, run.truncated && "It was cut to fit into one message."),
    textPanel("Prompt, its first words", run.promptPreview),
    run.response && el("details", { class: "panel" }, el("summary", {}, "The provider’s own answer"), el("pre", { tabindex: "0" }, pretty(run.response))),
  ].filter(Boolean);
}

function summary(page, zone, run) {
  const all = (name, value, text = value) => value && link(page.href("runs", { [name]: value }), text);
  const labels = Object.entries(run.labels ?? {}).map(([name, value]) => [all("label", `${name}=${value}`), " "]);
  return el(
    "section",
    { class: "panel" },
    el("header", {}, el("h2", { class: "mono" }, run.runId), statusBadge(run.status)),
    run.error && el("p", { class: "bad" }, `${run.errorCode}: ${run.error}`),
    facts([
      ["Model", all("model", run.model)],
      ["Served by", run.servedModel !== run.model ? run.servedModel : null],
      ["Provider", all("provider", run.provider)],
      ["Prompt", all("prompt", run.promptId)],
      ["User", all("user", run.user)],
      ["Key", all("key", run.keyId)],
      ["Batch", run.batchId && link(page.href("batch", { id: run.batchId }), run.batchId)],
      ["Row", run.customId],
      ["Labels", labels.length ? labels : null],
      ["Served tier", run.serviceTier],
      ["Ended because", run.finishReason],
      ["Accepted", moment(run.acceptedAt, zone)],
      ["Waited before its first call", run.queuedMs === null ? null : duration(run.queuedMs)],
      ["Completed", run.completedAt && moment(run.completedAt, zone)],
      ["Latency", run.latency === null ? null : duration(run.latency)],
    ]),
  );
}

function costPanel(run) {
  const header = el("header", {}, el("h2", {}, "Cost"), el("strong", {}, costText(run)));
  const rows = Object.entries(run.costComponents ?? {});
  const columns = [
    { title: "Part", cell: ([name]) => name.replaceAll("_", " ") },
    { title: "Dollars", number: true, cell: ([, value]) => exactMoney(value) },
  ];
  const parts = rows.length ? table({ caption: "What the cost consists of", hideCaption: true, columns, rows }) : null;
  const saved = Number(run.cacheSavings ?? 0) > 0 && el("p", { class: "soft" }, `The provider’s cache saved ${exactMoney(run.cacheSavings)}.`);
  const prices = run.catalogue && el("p", { class: "soft" }, `Prices: ${run.catalogue}`);
  return el("section", { class: "panel" }, header, parts, saved, prices);
}

function costText(run) {
  if (run.status === "accepted") return "not known yet";
  return run.cost === null ? el("span", { class: "warn" }, "unpriced") : exactMoney(run.cost);
}

function tokenPanel(run) {
  const { usage } = run;
  const kinds = usage && [
    ["In", usage.input], ["of these from caches", usage.cached], ["of these written to caches", usage.cacheWrites],
    ["Out", usage.output], ["of these reasoning", usage.reasoning], ["Total", usage.total],
  ];
  const columns = [{ title: "Kind", cell: ([name]) => name }, { title: "Tokens", number: true, cell: ([, tokens]) => count(tokens) }];
  const body = kinds ? table({ caption: "Tokens by kind", hideCaption: true, columns, rows: kinds }) : el("p", { class: "soft" }, "None are known.");
  return el("section", { class: "panel" }, el("header", {}, el("h2", {}, "Tokens")), body);
}

function attemptPanel(zone, run) {
  const executions = run.executionDetails?.length ? run.executionDetails : [{ executionId: "", attempts: run.attempts, status: run.status }];
  const rows = executions.flatMap((execution, place) => execution.attempts.map((attempt) => ({ ...attempt, execution: place + 1 })));
  const several = executions.length > 1;
  const columns = [
    several && { title: "Execution", number: true, cell: (attempt) => String(attempt.execution) },
    { title: "Call", number: !several, cell: (attempt) => String(attempt.number) },
    { title: "Started", cell: (attempt) => moment(attempt.startedAt, zone) },
    { title: "Took", number: true, cell: (attempt) => duration(attempt.latencyMs) },
    { title: "Answer", cell: (attempt) => attempt.statusCode ?? (attempt.outcome === "unknown" ? "never came: it may have been charged" : "none") },
    { title: "Error", cell: (attempt) => attempt.error ?? "–" },
    { title: "Cost", number: true, cell: (attempt) => (attempt.cost === null ? "–" : exactMoney(attempt.cost)) },
  ].filter(Boolean);
  const note = several && el("p", { class: "warn" }, `It was carried out ${executions.length} times; the first to complete is its result, and all are in the cost.`);
  const body = table({ id: "attempts", caption: "Calls to the provider", hideCaption: true, columns, rows, empty: el("p", { class: "soft" }, "The provider has not been called.") });
  return el("section", { class: "panel" }, el("header", {}, el("h2", {}, "Calls to the provider")), note, body);
}

function textPanel(name, text, note = null) {
  if (!text) return null;
  return el("section", { class: "panel" }, el("header", {}, el("h2", {}, name)), note && el("p", { class: "warn" }, note), el("pre", { tabindex: "0" }, text));
}

function pretty(response) {
  try {
    return JSON.stringify(JSON.parse(response), null, 2);
  } catch {
    return response;
  }
}
