/** Submitting a batch: choose a file, see what it will cost, name it and send it. */

import { chooser } from "./chooser.js";
import { button, el, emptyState, field, fill, select } from "./dom.js";
import { form, input } from "./form.js";
import { bytes, count, percent } from "./format.js";
import { once } from "./idempotency.js";
import { may } from "./navigation.js";
import { meter } from "./progress.js";
import { faults, quoteView } from "./quote.js";
import { upload } from "./upload.js";

const MOST_BYTES = 200 * 1024 * 1024;

/** Show the steps, one after the other. */
export async function showSubmit(root, page) {
  if (!may(page.me, "member")) return void fill(root, emptyState("Not for your role", "Viewers read; a member submits batches."));
  const models = await page.api.get("/api/models");
  const steps = { page, models, file: panel("1. The file"), cost: panel("2. What it will cost"), send: panel("3. Submit it") };
  choose(steps);
  const back = el("p", {}, el("a", { href: "#batches" }, "← All batches"));
  fill(root, back, steps.file.node, steps.cost.node, steps.send.node);
}

function panel(heading) {
  const content = el("div", { class: "stack" });
  return { content, node: el("section", { class: "panel", hidden: true }, el("h2", {}, heading), content) };
}

function reveal({ node, content }, ...children) {
  node.hidden = false;
  fill(content, ...children);
}

function choose(steps, problem = null) {
  steps.cost.node.hidden = steps.send.node.hidden = true;
  const hint = "JSON Lines as OpenAI's batches have them: at most 50,000 rows and 200 MiB. Nothing is sent to a provider yet.";
  const place = chooser("Choose a file, or drop it here", hint, ".jsonl,.ndjson,application/jsonl", (file) => send(steps, file));
  reveal(steps.file, problem && el("p", { class: "refused", role: "alert" }, problem), place);
}

async function send(steps, file) {
  if (file.size > MOST_BYTES) return choose(steps, `It has ${bytes(file.size)}; a batch has ${bytes(MOST_BYTES)} at most. Split it.`);
  const progress = meter("Upload");
  const stop = new AbortController();
  steps.page.signal.addEventListener("abort", () => stop.abort());
  reveal(steps.file, el("p", {}, `Uploading ${file.name}`), progress.node, button("Stop", () => stop.abort(), { id: "stop" }));
  const told = (part) => progress.told(part, `${percent(part * 100)} of ${bytes(file.size)}`);
  try {
    const stored = await upload(file, told, stop.signal);
    const named = el("p", {}, el("strong", {}, stored.filename), ` · ${bytes(stored.bytes)}`);
    reveal(steps.file, named, button("Choose another", () => choose(steps)));
    await quote(steps, stored, null);
  } catch (error) {
    choose(steps, error.message);
  }
}

async function quote(steps, stored, model) {
  steps.send.node.hidden = true;
  reveal(steps.cost, el("p", { class: "loading", role: "status" }, "Reading every row…"));
  try {
    const quoted = await steps.page.api.post("/api/batches/quote", { fileId: stored.id, model });
    showQuote(steps, stored, model, quoted);
  } catch (error) {
    reveal(steps.cost, el("p", { class: "refused", role: "alert" }, error.message), modelChoice(steps, stored, model));
  }
}

function showQuote(steps, stored, model, quoted) {
  const wrong = quoted.errors.length > 0;
  reveal(
    steps.cost,
    wrong && el("p", { class: "refused", role: "alert" }, "Such a file is not run: correct these lines, and choose it again."),
    wrong && faults(quoted.errors, "Lines that are wrong, the first hundred at most"),
    modelChoice(steps, stored, model),
    quoteView(quoted),
  );
  if (!wrong) askTerms(steps, stored, model, quoted);
}

function modelChoice(steps, stored, model) {
  const options = [["", "every row names its own"], ...steps.models.map((known) => known.model)];
  const onchange = (event) => quote(steps, stored, event.target.value || null);
  return field("Model for rows that name none", select({ id: "default-model", onchange }, options, model ?? ""));
}

function askTerms({ page, send: panelOf }, stored, model, quoted) {
  const name = input({ id: "name", maxlength: "256", placeholder: "nightly" });
  const labels = input({ id: "labels", placeholder: "team=search env=prod" });
  const limit = input({ id: "max-cost", type: "number", min: "0.000001", step: "any", inputmode: "decimal", placeholder: "no limit" });
  const hours = input({ id: "hours", type: "number", min: "1", max: "168", step: "1", value: "24", required: true });
  const options = once();
  const submit = async () => {
    const terms = { fileId: stored.id, model, name: name.value.trim() || null, labels: pairs(labels.value), maxCost: limit.value || null };
    const batch = await page.api.post("/api/batches", { ...terms, deadlineSeconds: Number(hours.value) * 3600 }, options);
    page.say(`${batch.name || "The batch"} is submitted: ${count(quoted.rows)} rows.`);
    page.go("batch", { id: batch.id });
  };
  const rows = [
    field("Name (optional)", name),
    field("Labels (optional)", labels, "name=value, with spaces between. They are on every run, so that costs can be grouped by them."),
    field("Most it may cost, in US dollars (optional)", limit, "No row is sent that could exceed it. Every model needs a price then."),
    field("Hours it has", hours, "No call starts after them; what has no result by then ends as expired."),
  ];
  reveal(panelOf, form({ rows, action: `Submit ${count(quoted.rows)} rows`, busy: "Submitting…", submit }));
}

/** Labels as they are typed: `{name: value}`; throws where one has no value. */
function pairs(text) {
  const words = text.split(/\s+/).filter(Boolean);
  const wrong = words.find((word) => !/^[^=]+=/.test(word));
  if (wrong) throw new Error(`Labels: write “${wrong}” as name=value.`);
  return Object.fromEntries(words.map((word) => [word.slice(0, word.indexOf("=")), word.slice(word.indexOf("=") + 1)]));
}
