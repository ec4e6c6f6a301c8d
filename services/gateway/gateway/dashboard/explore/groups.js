/** The groups of a breakdown as a table. */

import { changeOf } from "../change.js";
import { el, link } from "../dom.js";
import { dimensionName } from "../filters.js";
import { MEASURES } from "../measures.js";
import { table } from "../table.js";
import { picked } from "./breakdown.js";

const SHOWN = ["cost", "unpricedRuns", "runs", "successRate", "totalTokens", "avgCost", "avgLatency"];

/**
 * Make the table of an answer. `few`: only the chart's measure, as the chart's own table; else the chart's measure and
 * the usual ones, and with a comparison what it was before.
 */
export function groupTable(page, question, { by, measure, few = false }, { usage, before }) {
  const names = few ? [measure] : [measure, ...SHOWN.filter((name) => name !== measure)];
  const columns = [
    ...by.map((dimension, place) => dimensionColumn(page, question, dimension, place)),
    ...names.map((name) => measureColumn(name)),
    !few && before && beforeColumn(measure, before),
  ].filter(Boolean);
  return table({ id: few ? null : "groups", caption: few ? MEASURES[measure].title : "Each group", hideCaption: true, columns, rows: usage.groups });
}

function dimensionColumn(page, question, dimension, place) {
  const text = ({ by }) => (by[dimension] === null ? "Other" : by[dimension] || "(none)");
  const cell = (group) => (place === 0 ? link(page.href("runs", { ...question, ...picked(group) }), text(group)) : text(group));
  return { title: dimensionName(dimension), cell, sort: text };
}

function measureColumn(name) {
  const { title, format, exact } = MEASURES[name];
  const cell = (group) => el("span", { title: exact ? exact(group[name]) : null }, format(group[name]));
  return { title, number: true, cell, sort: (group) => (group[name] === null ? null : Number(group[name])) };
}

function beforeColumn(name, before) {
  const of = new Map(before.groups.map((group) => [JSON.stringify(group.by), group]));
  const earlier = (group) => of.get(JSON.stringify(group.by))?.[name] ?? (MEASURES[name].sum ? 0 : null);
  const comparable = ({ by }) => !Object.values(by).includes(null) && !("day" in by || "hour" in by || "month" in by);
  const cell = (group) => (comparable(group) ? changeOf(group[name], earlier(group), MEASURES[name].format) : "");
  return { title: "Change", cell };
}
