/** What is explored: dimensions, the measure of the chart, how many values are told apart, the comparison. */

import { el, field, select } from "../dom.js";
import { DIMENSIONS, TIMES } from "../filters.js";
import { MEASURES } from "../measures.js";

const LABEL = "label";
const TOPS = ["5", "10", "25", "50", "100", "1000"];
const NONE = "";

/** Return `{by, measure, top, compare}` of the address. */
export function optionsOf({ params }) {
  const by = params.getAll("by").slice(0, 2);
  const measure = params.get("measure") in MEASURES ? params.get("measure") : "cost";
  return { by: by.length ? by : ["model"], measure, top: params.get("top") ?? "10", compare: params.get("compare") === "true" };
}

/** The controls for it. */
export function exploreControls(page, { by, measure, top, compare }) {
  const measures = Object.entries(MEASURES).map(([name, { title }]) => [name, title]);
  const change = (name) => (event) => page.set({ [name]: event.target.value });
  const tick = el("input", { type: "checkbox", id: "compare", checked: compare, onchange: (event) => page.set({ compare: event.target.checked ? "true" : null }) });
  return el(
    "div",
    { class: "controls" },
    dimensionField(page, by, 0, "By"),
    dimensionField(page, by, 1, "And by"),
    field("Chart of", select({ id: "measure", onchange: change("measure") }, measures, measure)),
    field("Tell apart", select({ id: "top", onchange: change("top") }, TOPS.map((n) => [n, `the ${n} costliest`]), top)),
    el("label", { class: "tick", for: "compare" }, tick, " Beside the period before"),
  );
}

function dimensionField(page, by, place, title) {
  const chosen = by[place] ?? NONE;
  const isLabel = chosen.startsWith(`${LABEL}:`);
  const setBy = (value) => page.set({ by: [...new Set(by.toSpliced(place, 1, value))].filter(Boolean) });
  const onchange = (event) => {
    if (event.target.value !== LABEL) return setBy(event.target.value);
    naming.hidden = false;
    name.focus();
  };
  const options = [...(place ? [[NONE, "nothing else"]] : []), ...Object.entries({ ...DIMENSIONS, ...TIMES }), [LABEL, "Label …"]];
  const choice = select({ id: `by-${place}`, onchange }, options, isLabel ? LABEL : chosen);
  const name = el("input", {
    id: `by-${place}-label`, value: isLabel ? chosen.slice(LABEL.length + 1) : "", autocomplete: "off", size: "12",
    onchange: (event) => event.target.value.trim() && setBy(`${LABEL}:${event.target.value.trim()}`),
  });
  const naming = field("Label’s name", name);
  naming.hidden = !isLabel;
  return [field(title, choice), naming];
}
