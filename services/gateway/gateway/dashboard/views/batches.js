/** Batches: which there are, how far each is, and a way to submit another. */

import { STATES, done, inWords, moves, progressBar, range, stateBadge } from "../batch-state.js";
import { button, el, emptyState, field, fill, select } from "../dom.js";
import { input } from "../form.js";
import { count, money, moment } from "../format.js";
import { redraw, staleness } from "../live.js";
import { may } from "../navigation.js";
import { showSubmit } from "../submit.js";
import { table } from "../table.js";

export const title = "Batches";

const PAGE = 50;
const SECONDS = 3;

export async function show(root, page) {
  if (page.params.get("new")) return showSubmit(root, page);
  const list = el("section", { class: "stack" });
  const refresh = async () => {
    const found = await page.api.get("/api/batches", asked(page));
    redraw(list, listing(found, page));
    return found.batches;
  };
  const batches = await refresh();
  const stale = staleness();
  fill(root, controls(page), stale.node, list);
  if (batches.some(moves)) page.every(SECONDS, () => stale.watch(refresh));
}

function asked({ params }) {
  return { limit: PAGE, state: params.get("state"), label: params.getAll("label"), cursor: params.get("cursor") };
}

function controls(page) {
  const chosen = page.params.get("state") ?? "";
  const states = [["", "any state"], ...STATES.map((state) => [state, inWords(state)])];
  const onState = (event) => page.set({ state: event.target.value, cursor: null });
  const onLabel = (event) => page.set({ label: labels(event.target.value), cursor: null });
  const label = input({ id: "label", value: page.params.getAll("label").join(" "), placeholder: "team=search", onchange: onLabel });
  const again = button("New batch", () => page.go("batches", { new: "1" }), { id: "new-batch", class: "primary" });
  return el(
    "div",
    { class: "controls lead" },
    field("State", select({ id: "state", onchange: onState }, states, chosen)),
    field("Labels", label),
    may(page.me, "member") && again,
  );
}

const labels = (text) => text.split(/\s+/).filter((pair) => pair.includes("="));

function listing({ batches, nextCursor }, page) {
  const filtered = page.params.get("state") || page.params.has("label");
  return [
    table({
      caption: "Batches, the newest first",
      hideCaption: true,
      columns: columns(),
      rows: batches,
      empty: filtered ? noneFits(page) : none(page),
    }),
    el(
      "div",
      { class: "actions" },
      page.params.get("cursor") && button("Newest", () => page.set({ cursor: null }), { id: "newest" }),
      nextCursor && button("Older", () => page.set({ cursor: nextCursor }), { id: "older" }),
    ),
  ];
}

function columns() {
  return [
    { title: "Batch", cell: (batch) => [named(batch), tags(batch)], wide: true },
    { title: "State", cell: (batch) => stateBadge(batch) },
    { title: "Done", cell: (batch) => [progressBar(batch), el("small", {}, `${count(done(batch))} of ${count(batch.rows)}`)] },
    { title: "Failed", number: true, cell: (batch) => unsuccessful(batch) },
    { title: "Cost", number: true, cell: (batch) => [money(batch.cost), unpriced(batch)] },
    { title: "Quote", number: true, cell: (batch) => batch.quote && range(batch.quote.low, batch.quote.high) },
    { title: "Limit", number: true, cell: (batch) => money(batch.maxCost) },
    { title: "Submitted", cell: (batch) => moment(batch.createdAt) },
  ];
}

const named = ({ id, name }) => el("a", { id: `open-${id}`, href: `#batch?id=${id}` }, name || id);

const unpriced = ({ unpriced: runs }) => runs > 0 && el("small", { class: "warn" }, `+ ${count(runs)} unpriced`);

function unsuccessful(batch) {
  const rows = batch.failed + batch.expired;
  return rows > 0 ? el("span", { class: "bad" }, count(rows)) : "0";
}

function tags({ labels: known }) {
  const pairs = Object.entries(known).map(([name, value]) => `${name}=${value}`);
  return pairs.length > 0 && el("small", {}, pairs.join(" "));
}

function none(page) {
  const text = "A batch is a file of requests, one a line. You see what it will cost before anything is sent.";
  const first = may(page.me, "member") && button("Submit a batch", () => page.go("batches", { new: "1" }), { class: "primary" });
  return emptyState("No batch yet", text, first);
}

function noneFits(page) {
  const all = button("Show all", () => page.set({ state: null, label: null, cursor: null }));
  return emptyState("No batch fits", "None has this state and these labels.", all);
}
