/** How a figure compares with the period before. */

import { el } from "./dom.js";
import { percent } from "./format.js";

/** A change in words: "+12.5% against $3.20 before". Nothing to compare with is said, and never shown as 0%. */
export function changeOf(now, before, format) {
  const [value, earlier] = [Number(now), Number(before)];
  if (before === null || before === undefined) return "nothing to compare with";
  if (earlier === 0) return value === 0 ? "none before either" : "none before";
  return `${signed(((value - earlier) / earlier) * 100)} against ${format(before)} before`;
}

/** A change between two percentages, in points. */
export function pointsOf(now, before) {
  if (now === null || before === null || now === undefined || before === undefined) return "nothing to compare with";
  const points = now - before;
  return points === 0 ? "as before" : `${points > 0 ? "+" : "−"}${Math.abs(points).toFixed(1)} points against ${percent(before)} before`;
}

/** A card: a figure under its name, with remarks (texts or nodes, null is left out) below it. */
export function card(name, value, ...remarks) {
  const more = remarks.filter(Boolean).map((remark) => (remark.tagName === "DD" ? remark : el("dd", { class: "more" }, remark)));
  return el("div", { class: "card" }, el("dt", {}, name), el("dd", { class: "figure" }, value), more);
}

function signed(value) {
  return `${value >= 0 ? "+" : "−"}${percent(Math.abs(value))}`;
}
