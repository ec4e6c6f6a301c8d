/** The groups of a breakdown as a table. */

import { shortChange } from "../change.js";
import { el, link } from "../dom.js";
import { TIMES, dimensionName } from "../filters.js";
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
    ...(!few && before ? beforeColumns(measure, before) : []),
  ];
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

function beforeColumns(name, before) {
  const { title, format, sum } = MEASURES[name];
  const of = new Map(before.groups.map((group) => [JSON.stringify(group.by), group]));
  const earlier = (group) => of.get(JSON.stringify(group.by))?.[name] ?? (sum ? 0 : null);
  const comparable = ({ by }) => !Object.keys(by).some((dimension) => dimension in TIMES) && !Object.values(by).includes(null);
  return [
    { title: `${title} before`, number: true, cell: (group) => (comparable(group) ? format(earlier(group)) : "") },
    { title: "Change", number: true, cell: (group) => (comparable(group) ? shortChange(group[name], earlier(group)) : "") },
  ];
}
