/** How complete the figures are: the watermark, and what is accepted, under way, or lost. */

import { badge, el } from "./dom.js";
import { count, timeOfDay } from "./format.js";

/** One line: "Data through 14:03:22", and the runs that are not in the figures yet, or never will be. */
export function completenessLine(page, answer, zone, filters = {}) {
  const { completeness } = answer;
  const through = completeness?.readUpTo ?? answer.readUpTo;
  const said = through ? `Data through ${timeOfDay(through, zone)}` : "No data yet";
  const parts = [el("span", { class: "through", title: through ? new Date(through).toISOString() : null }, said)];
  if (completeness) parts.push(...counts(page, completeness, zone, filters));
  return el("p", { class: "completeness soft" }, parts);
}

function counts(page, { accepted, finished, inFlight, lost, completeUpTo }, zone, filters) {
  const runs = (text, status) => el("a", { href: page.href("runs", { ...filters, status }) }, text);
  const whole = inFlight === 0 && lost === 0;
  return [
    el("span", {}, `${count(accepted)} accepted, ${count(finished)} finished`),
    inFlight > 0 && el("span", {}, runs(`${count(inFlight)} in flight`, "accepted")),
    lost > 0 && badge(`${count(lost)} lost`, "bad"),
    whole && accepted > 0 && badge("complete", "good"),
    !whole && completeUpTo && el("span", {}, `complete up to ${timeOfDay(completeUpTo, zone)}`),
  ];
}
