/** How complete the figures are: the watermark, and what is accepted, under way, or lost. */

import { badge, el } from "./dom.js";
import { count, duration, moment, timeOfDay } from "./format.js";

const LATE_MS = 60_000;
const DAY_MS = 86_400_000;

/** One line: "Data through 14:03:22", and the runs that are not in the figures yet, or never will be. */
export function completenessLine(page, answer, zone, filters = {}) {
  const { completeness } = answer;
  const through = completeness?.readUpTo ?? answer.readUpTo;
  const parts = [through ? throughOf(new Date(through), zone) : el("span", {}, "No data yet")];
  if (completeness) parts.push(...counts(page, completeness, zone, filters));
  return el("p", { class: "completeness soft" }, parts);
}

/** How far the figures go; late ones say by how much, as they are still being read. */
function throughOf(through, zone) {
  const late = Date.now() - through;
  const at = late < DAY_MS ? timeOfDay(through, zone) : moment(through, zone);
  const behind = late > LATE_MS && el("span", { class: "warn" }, ` (${duration(late)} behind)`);
  return el("span", { class: "through", title: through.toISOString() }, `Data through ${at}`, behind);
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
