/** One batch: how far it is while it runs, what it costs, how to steer it, and its rows' results. */

import { done, ended, inWords, stateBadge } from "../batch-state.js";
import { batchActions } from "../batch-actions.js";
import { figures, properties } from "../batch-figures.js";
import { resultsPanel } from "../batch-results.js";
import { el, fill, link } from "../dom.js";
import { count } from "../format.js";
import { staleness } from "../live.js";
import { faults } from "../quote.js";

export const title = "Batch";

/** The figures themselves are at most a second old. */
const SECONDS = 1;

const LOUD = { failed: "bad", expired: "bad" };

export async function show(root, page) {
  const id = page.params.get("id") ?? "";
  const path = `/api/batches/${encodeURIComponent(id)}`;
  const parts = {
    head: el("div", { class: "lead" }),
    live: el("div", { class: "stack" }),
    about: el("section", { class: "panel" }),
    errors: el("section", { class: "panel", hidden: true }),
  };
  const stale = staleness();
  const results = resultsPanel(page, path);
  let shown = null;

  const draw = (batch) => {
    if (batch.state !== shown?.state || ended(batch)) still(parts, batch, page, path, refresh);
    fill(parts.live, figures(batch));
    if (shown && batch.state !== shown.state && ended(batch)) page.say(`The batch is ${inWords(batch.state)}.`, LOUD[batch.state]);
    if (batch.state !== shown?.state || (done(batch) !== done(shown) && !results.full())) results.load();
    shown = batch;
  };
  const refresh = async () => draw(await page.api.get(path));

  draw(await page.api.get(path));
  fill(root, parts.head, stale.node, parts.live, parts.errors, results.node, parts.about);
  if (!ended(shown)) page.every(SECONDS, () => !ended(shown) && stale.watch(refresh));
}

/** What changes with the state alone: replaced no more often than that, so that the focus stays where it is. */
function still({ head, about, errors }, batch, page, path, refresh) {
  const name = el("h2", {}, batch.name || "Unnamed batch");
  const paused = batch.state === "paused" && el("p", { class: "notice" }, `Paused: ${batch.pausedReason}. ${resumption(batch)}`);
  const back = el("p", {}, link("#batches", "← All batches"));
  const named = el("div", { class: "stack" }, back, el("div", { class: "title" }, name, stateBadge(batch)), paused);
  fill(head, named, batchActions(batch, page, path, refresh));
  fill(about, el("h2", {}, "About it"), properties(batch));
  errors.hidden = batch.errors.length === 0;
  const shown = batch.errors.length > 0 && faults(batch.errors, `${count(batch.errors.length)} shown`);
  fill(errors, el("h2", {}, "Nothing of it was run: these lines are wrong"), shown);
}

function resumption({ pausedReason }) {
  return pausedReason === "paused on request"
    ? "What was sent already goes on; resume it when you like."
    : "It goes on by itself once a key of this provider is connected; after a top-up, resume it.";
}
