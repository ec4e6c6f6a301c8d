/** The chart of a breakdown: over time where one dimension is time, else a bar for each value. */

import { bucketsOf } from "../buckets.js";
import { makeChart } from "../chart.js";
import { TIMES, filterOf } from "../filters.js";
import { MEASURES } from "../measures.js";
import { PALE, overTime as layoutOverTime } from "../series.js";

const COLOURS = 8;
const MOST_BARS = 25;

/** Make the chart; `update(usage, table)` draws an answer. A bar leads to the runs that it stands for. */
export function breakdownChart(page, question, { by, measure }) {
  let keys = [];
  const { title } = MEASURES[measure];
  const onpick = ({ curveNumber, pointNumber }) => {
    const group = keys[curveNumber]?.[pointNumber];
    if (group) page.go("runs", { ...question, ...picked(group) });
  };
  const chart = makeChart(page, { title, label: `${title} by ${by.join(" and ")}`, onpick });
  const update = (usage, table) => {
    const time = by.find((dimension) => dimension in TIMES);
    const drawn = time ? overTime(usage, time, by.find((dimension) => dimension !== time), measure) : ofValues(usage, by, measure);
    keys = drawn.groups;
    return chart.update({ ...drawn, table });
  };
  return { root: chart.root, update };
}

/** The filters of a group: those of each of its values that are told apart. */
export function picked({ by }) {
  const filters = {};
  for (const [dimension, value] of Object.entries(by)) {
    if (value === null) continue;
    if (dimension === "day") Object.assign(filters, { period: null, from: value, to: value });
    else if (dimension === "month") Object.assign(filters, { period: null, ...daysOfMonth(value) });
    else if (dimension !== "hour") Object.assign(filters, filterOf(dimension, value));
  }
  return filters;
}

function overTime(usage, time, other, measure) {
  const values = other ? [...new Set(usage.groups.map(({ by }) => by[other]))] : [undefined];
  const ordered = [...values.filter((value) => value !== null), ...values.filter((value) => value === null)];
  const rows = ordered.map((value) => pointsOf(usage, time, other, value));
  const { sum, axis } = MEASURES[measure];
  const traces = rows.map((points, place) => ({
    ...(sum ? { type: "bar" } : { type: "scatter", mode: "lines+markers", connectgaps: false }),
    name: other ? nameOf(ordered[place]) : MEASURES[measure].title,
    x: points.map(({ label }) => label),
    y: points.map(({ group }) => (sum ? Number(group?.[measure] ?? 0) : numberOf(group?.[measure]))),
    marker: { color: colourOf(place, ordered[place]), opacity: points.map(({ unfinished }) => (unfinished ? PALE : 1)) },
    line: { color: colourOf(place, ordered[place]) },
  }));
  return { traces, layout: layoutOverTime({ barmode: "stack", yaxis: axis }), groups: rows.map((points) => points.map(({ group }) => group)) };
}

function pointsOf(usage, time, other, value) {
  const groups = other ? usage.groups.filter(({ by }) => by[other] === value) : usage.groups;
  if (time !== "month") return bucketsOf({ ...usage, groups }, time);
  const of = new Map(groups.map((group) => [group.by.month, group]));
  const now = usage.end.slice(0, 7);
  return monthsOf(usage).map((key) => ({ key, label: key, unfinished: key === now, group: of.get(key) ?? null }));
}

function ofValues(usage, by, measure) {
  const first = [...new Set(usage.groups.map((group) => group.by[by[0]]))].slice(0, MOST_BARS);
  const second = by[1] ? [...new Set(usage.groups.map((group) => group.by[by[1]]))] : [undefined];
  const group = (a, b) => usage.groups.find(({ by: values }) => values[by[0]] === a && (!by[1] || values[by[1]] === b));
  const { sum, axis, title } = MEASURES[measure];
  const groups = second.map((b) => first.map((a) => group(a, b) ?? null));
  const traces = groups.map((row, place) => ({
    type: "bar",
    orientation: "h",
    name: by[1] ? nameOf(second[place]) : title,
    y: first.map(nameOf),
    x: row.map((one) => (sum ? Number(one?.[measure] ?? 0) : numberOf(one?.[measure]))),
    marker: { color: colourOf(place, by[1] ? second[place] : undefined) },
  }));
  const layout = {
    barmode: sum ? "stack" : "group", hovermode: "closest", height: 90 + 26 * first.length, showlegend: Boolean(by[1]),
    xaxis: { ...axis, showgrid: true }, yaxis: { type: "category", autorange: "reversed", rangemode: "normal", showgrid: false },
  };
  return { traces, layout, groups };
}

const numberOf = (value) => (value === null || value === undefined ? null : Number(value));
const nameOf = (value) => (value === null ? "Other" : value || "(none)");
const colourOf = (place, value) => (value === null ? "soft" : `chart-${(place % COLOURS) + 1}`);

function monthsOf({ start, end }) {
  const months = [];
  for (let [year, month] = start.split("-").map(Number); ; month += 1) {
    if (month > 12) [year, month] = [year + 1, 1];
    const key = `${year}-${String(month).padStart(2, "0")}`;
    if (key > end.slice(0, 7)) return months;
    months.push(key);
  }
}

function daysOfMonth(month) {
  const [year, number] = month.split("-").map(Number);
  return { from: `${month}-01`, to: new Date(Date.UTC(year, number, 0)).toISOString().slice(0, 10) };
}
