/** The results of a batch's rows: a table that grows as one asks for more, and all of them as a file. */

import { badge, el, emptyState, field, fill, link, select } from "./dom.js";
import { act } from "./form.js";
import { count, duration, money } from "./format.js";
import { address } from "./api.js";
import { table } from "./table.js";

const PAGE = 25;
const EXCERPT = 110;
const KINDS = [["", "every row"], ["ok", "succeeded"], ["failed", "failed"], ["expired", "expired"], ["cancelled", "cancelled"]];

/** The panel of the batch at `path`; `load()` shows the first rows anew, `full()` tells whether there are enough. */
export function resultsPanel(page, path) {
  const only = page.params.get("only") ?? "";
  const list = el("div", { class: "stack" });
  const rows = [];
  const load = async (after) => {
    const { found, more } = await read(page, `${path}/results`, { only, after });
    if (!after) rows.length = 0;
    rows.push(...found);
    fill(list, resultsTable(rows, only), more && moreButton(page, rows, load));
  };
  const failed = (error) => error.name !== "AbortError" && fill(list, el("p", { class: "refused", role: "alert" }, error.message));
  const safely = () => load().catch(failed);
  const full = () => rows.length >= PAGE;
  return { node: el("section", { class: "panel" }, heading(page, path, only, safely), list), load: safely, full };
}

function heading(page, path, only, load) {
  const onchange = (event) => page.set({ only: event.target.value });
  const name = `${page.params.get("id")}-${only || "results"}.jsonl`;
  return el(
    "header",
    {},
    el("h2", {}, "Results"),
    el(
      "div",
      { class: "controls" },
      field("Rows that", select({ id: "only", onchange }, KINDS, only)),
      act(page, "Refresh", "Loading…", load, { id: "refresh" }),
      el("a", { class: "button", id: "download", href: address(`${path}/results`, { only }), download: name }, "Download JSONL"),
    ),
  );
}

/** The next rows, and whether there may be more: what is not read any more is not sent either. */
async function read(page, url, { only, after }) {
  const stop = new AbortController();
  page.signal.addEventListener("abort", () => stop.abort());
  const found = [];
  for await (const row of page.api.stream(url, { only, after }, { signal: stop.signal })) {
    if (found.length === PAGE) {
      stop.abort();
      return { found, more: true };
    }
    found.push(row);
  }
  return { found, more: false };
}

function moreButton(page, rows, load) {
  return act(page, `${count(rows.length)} shown: more`, "Loading…", () => load(rows.at(-1).customId), { id: "more" });
}

function resultsTable(rows, only) {
  return table({
    caption: "Rows in the order of their ending",
    hideCaption: true,
    rows,
    empty: emptyState("No result yet", only ? "No row has ended so." : "Rows are shown here as they end."),
    columns: [
      { title: "Row", cell: (row) => (row.runId ? link(`#run?id=${row.runId}`, row.customId) : row.customId) },
      { title: "Ended", cell: (row) => badge(row.status, row.status === "succeeded" ? "good" : "bad") },
      { title: "Answer", cell: answer, wide: true },
      { title: "Model", cell: (row) => row.model ?? "–" },
      { title: "Tokens", number: true, cell: (row) => count(row.usage?.total) },
      { title: "Cost", number: true, cell: (row) => (row.priced ? money(row.cost) : badge("unpriced", "warn")) },
      { title: "Time", number: true, cell: (row) => duration(row.latency) },
    ],
  });
}

function answer(row) {
  if (row.status !== "succeeded") return [el("code", {}, row.errorCode), " ", row.error];
  const text = row.output ?? "";
  if (text.length <= EXCERPT) return text;
  return el("details", {}, el("summary", {}, `${text.slice(0, EXCERPT)}…`), el("pre", {}, text));
}
