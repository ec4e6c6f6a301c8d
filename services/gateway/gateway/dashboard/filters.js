/** Filters: which runs are counted. They are in the address, one parameter for each value, and shown as chips. */

import { button, el, field, select } from "./dom.js";

export const DIMENSIONS = {
  model: "Model",
  provider: "Provider",
  prompt: "Prompt",
  user: "User",
  key: "Key",
  batch: "Batch",
  status: "Status",
  tier: "Served tier",
  error: "Error",
};
/** Dimensions that lie in time. */
export const TIMES = { day: "Day", hour: "Hour", month: "Month" };

const FLAGS = { unpriced: "Unpriced", repeated: "Carried out more than once" };
const LABEL = "label";
const STATUSES = ["succeeded", "failed", "cancelled", "expired"];
const SUGGESTED = 200;

/** Return the filters of the address: lists of values by name. */
export function filtersOf({ params }) {
  const names = [...Object.keys(DIMENSIONS), LABEL].filter((name) => params.has(name));
  return Object.fromEntries(names.map((name) => [name, params.getAll(name)]));
}

/** Return what a list of runs alone can be filtered by: `{unpriced: "true"}`, `{repeated: "true"}`. */
export function flagsOf({ params }) {
  return Object.fromEntries(Object.keys(FLAGS).filter((name) => params.get(name) === "true").map((name) => [name, "true"]));
}

/** What a dimension is called; `label:team` is “team”. */
export function dimensionName(dimension) {
  return DIMENSIONS[dimension] ?? TIMES[dimension] ?? dimension.replace(/^label:/, "");
}

/** The filter that keeps one value of a dimension: `{model: "gpt-4o"}`, `{label: "team=data"}`. */
export function filterOf(dimension, value) {
  return dimension.startsWith("label:") ? { label: `${dimension.slice(6)}=${value}` } : { [dimension]: value };
}

/** The chips of the filters that hold, and a form for another. `span` says for which days values are suggested. */
export function filterControls(page, span) {
  const flags = Object.keys(flagsOf(page)).map((name) => chip(page, FLAGS[name], { [name]: null }));
  const chips = [...flags, ...Object.entries(filtersOf(page)).flatMap(([name, values]) => valueChips(page, name, values))];
  return el("div", { class: "controls filters" }, chips.length ? el("ul", { class: "chips", "aria-label": "Filters" }, chips) : null, adder(page, span));
}

function valueChips(page, name, values) {
  const title = name === LABEL ? "Label" : DIMENSIONS[name];
  return values.map((value) => chip(page, `${title}: ${value || "(none)"}`, { [name]: values.filter((one) => one !== value) }));
}

function chip(page, said, without) {
  const remove = () => page.set({ ...without, cursor: null });
  return el("li", { class: "chip" }, said, button("×", remove, { "aria-label": `Remove the filter ${said}` }));
}

function adder(page, span) {
  const which = select({ id: "filter-by" }, [...Object.entries(DIMENSIONS), [LABEL, "Label"]], "model");
  const list = el("datalist", { id: "filter-values" });
  const value = el("input", { id: "filter-value", list: "filter-values", autocomplete: "off", required: true });
  const suggest = () => void fillSuggestions(page, span, which.value, list, value);
  which.addEventListener("change", () => ((value.value = ""), suggest()));
  value.addEventListener("focus", suggest, { once: true });
  const onsubmit = (event) => {
    event.preventDefault();
    const values = new Set([...page.params.getAll(which.value), value.value.trim()]);
    page.set({ [which.value]: [...values], cursor: null });
  };
  const form = el(
    "form",
    { class: "controls", onsubmit },
    field("Keep only", which),
    field("that is", value),
    list,
    el("button", { type: "submit" }, "Add filter"),
  );
  return el("details", { class: "adder" }, el("summary", {}, "Add a filter"), form);
}

/** What there is to choose from: the costliest values of the days shown. Without an answer one types it out. */
async function fillSuggestions(page, span, dimension, list, input) {
  input.placeholder = dimension === LABEL ? "name=value" : "";
  const values = dimension === LABEL ? [] : dimension === "status" ? STATUSES : await seen(page, span, dimension);
  list.replaceChildren(...values.map((value) => el("option", { value })));
}

async function seen(page, span, dimension) {
  try {
    const usage = await page.api.get("/api/analytics/usage", { ...span, by: dimension, top: SUGGESTED });
    return usage.groups.map((group) => group.by[dimension]).filter(Boolean);
  } catch {
    return [];
  }
}
