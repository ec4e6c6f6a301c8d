/** Rejected records: what was set aside as no run and why, looked into without its texts, replayed. */

import { el, emptyState, field, fill, select } from "../dom.js";
import { act, input } from "../form.js";
import { bytes, moment } from "../format.js";
import { lookInto, replayPanel } from "../replay.js";
import { table } from "../table.js";

export const title = "Rejected records";

const PAGE = 50;
const MOST_PAGES = 10; // a page may be empty and have more after it: so many are asked for at once
const PURPOSE =
  "A record on a run topic that is no run is set aside with its reason, and kept for 14 days. Find out why before you " +
  "replay: a replay spends the keys of the workspace that the record names.";
const SINCE = [["", "all that are kept (14 days)"], ["1", "the last hour"], ["24", "the last 24 hours"], ["168", "the last 7 days"]];
const SERVICES = [["", "any service"], ["runner", "the runner"], ["analytics", "analytics"]];
const TOPICS = ["", "runs.requested.v1", "runs.batched.v1", "runs.completed.v1"].map((topic) => [topic, topic || "any topic"]);

export async function show(root, page) {
  const workspaces = await page.api.get("/api/workspaces");
  const asked = filters(page);
  const { records, nextCursor } = await pageOf(page, { ...asked, cursor: page.params.get("cursor") });
  fill(
    root,
    el("p", {}, PURPOSE),
    controls(page, workspaces),
    listing(records, page, new Map(workspaces.map(({ id, name }) => [id, name]))),
    pager(page, nextCursor),
    records.length > 0 && replayPanel(page, asked),
  );
}

/** What the address asks for; `since` is counted back from now. */
function filters({ params }) {
  const hours = Number(params.get("since") ?? 0);
  const named = ["service", "topic", "reason", "workspaceId"].map((name) => [name, params.get(name)]);
  const since = hours ? new Date(Date.now() - hours * 3_600_000).toISOString() : null;
  return Object.fromEntries([...named, ["since", since]].filter(([, value]) => value));
}

async function pageOf(page, asked) {
  let cursor = asked.cursor;
  for (let turn = 0; turn < MOST_PAGES; turn += 1) {
    const found = await page.api.get("/api/rejected", { ...asked, cursor, limit: PAGE });
    if (found.records.length > 0 || !found.nextCursor) return found;
    cursor = found.nextCursor;
  }
  return { records: [], nextCursor: cursor };
}

function controls(page, workspaces) {
  const chosen = (name) => page.params.get(name) ?? "";
  const choose = (name) => (event) => page.set({ [name]: event.target.value.trim(), cursor: null });
  const pick = (name, options) => select({ id: name, onchange: choose(name) }, options, chosen(name));
  const names = [["", "any workspace"], ...workspaces.map(({ id, name }) => [id, name])];
  const reason = input({ id: "reason", type: "search", value: chosen("reason"), placeholder: "grant", onchange: choose("reason") });
  return el(
    "div",
    { class: "controls" },
    field("Reason contains", reason),
    field("Set aside by", pick("service", SERVICES)),
    field("Topic", pick("topic", TOPICS)),
    field("Workspace", pick("workspaceId", names)),
    field("Since", pick("since", SINCE)),
  );
}

function listing(records, page, names) {
  return table({
    caption: "Rejected records, the oldest first",
    hideCaption: true,
    rows: records,
    empty: empty(page),
    columns: [
      { title: "Rejected", cell: (record) => [moment(record.rejectedAt), el("small", {}, `by ${record.service || "–"}`)] },
      { title: "Why", cell: (record) => record.reason, wide: true },
      { title: "Workspace", cell: (record) => names.get(record.workspaceId) ?? short(record.workspaceId) },
      { title: "Model", cell: (record) => [record.model ?? "–", record.provider && el("small", {}, record.provider)] },
      { title: "Came from", cell: (record) => [record.topic || "–", el("small", {}, `partition ${record.partition}, offset ${record.originOffset}`)] },
      { title: "Size", number: true, cell: (record) => bytes(record.size) },
      { title: "Actions", cell: (record) => look(record, page) },
    ],
  });
}

const short = (id) => (id ? el("code", {}, `${id.slice(0, 8)}…`) : "–");

function look(record, page) {
  const attributes = { id: `look-${record.offset}`, "aria-label": `Look into the record of offset ${record.offset}` };
  return act(page, "Look", "Loading…", () => lookInto(record, page), attributes);
}

function empty(page) {
  if (page.params.size === 0) return emptyState("Nothing was rejected", "Every record of the last 14 days was a run.");
  const all = el("a", { class: "button", href: "#rejected" }, "Show all");
  return emptyState("No record fits", "None that is kept fits all of these filters.", all);
}

function pager(page, nextCursor) {
  const first = page.params.get("cursor") && el("a", { class: "button", id: "first", href: page.with({ cursor: null }) }, "First page");
  const next = nextCursor && el("a", { class: "button", id: "next", href: page.with({ cursor: nextCursor }) }, "Next page");
  return (first || next) && el("div", { class: "actions" }, first, next);
}

