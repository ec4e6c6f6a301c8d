/** Any figure by one or two dimensions, of the runs that pass the filters. */

import { completenessLine } from "../complete.js";
import { el, emptyState, fill, link } from "../dom.js";
import { breakdownChart } from "../explore/breakdown.js";
import { exploreControls, optionsOf } from "../explore/controls.js";
import { groupTable } from "../explore/groups.js";
import { TIMES, dimensionName, filterControls, filtersOf } from "../filters.js";
import { count } from "../format.js";
import { live } from "../refresh.js";
import { FIGURE_COLUMNS } from "../measures.js";
import { daysBefore, periodControls, spanOf } from "../period.js";
import { exportMenu } from "../save.js";

export const title = "Explore";
const MOST = 10_000;

/** Show the breakdown that the address asks for. */
export async function show(root, page) {
  const span = spanOf(page);
  const question = { ...span, ...filtersOf(page) };
  const options = optionsOf(page);
  const [status, body] = [el("div", { class: "line" }), el("div", { class: "view" })];
  let latest = null;
  root.append(
    el("div", { class: "controls" }, periodControls(page), exportMenu({ question, view: () => csvView(latest, options) })),
    exploreControls(page, options),
    filterControls(page, span),
    status,
    body,
  );
  const chart = breakdownChart(page, question, options);
  const groups = el("section", { class: "panel tall" });
  await live(page, root, span.tz, loader(page, question, options), (answer) => {
    latest = answer;
    fill(status, completenessLine(page, answer.usage, span.tz, question));
    if (!answer.usage.groups.length) return void fill(body, nothing(page));
    if (!groups.isConnected) fill(body, chart.root, groups);
    fill(groups, heading(answer.usage, options), groupTable(page, question, options, answer));
    chart.update(answer.usage, groupTable(page, question, { ...options, few: true }, answer));
  });
}

/** Ask for the groups, and with a comparison for the same ones of the period before. */
function loader(page, question, { by, top, compare }) {
  const usage = (more) => page.api.get("/api/analytics/usage", { ...question, by, ...more });
  return async () => {
    const answer = await usage({ top, compare: compare || null });
    if (!compare) return { usage: answer, before: null };
    const days = daysBefore(answer.start, answer.end);
    return { usage: answer, before: await usage({ ...days, period: null, top: MOST }) };
  };
}

function heading(usage, { by }) {
  const named = by.map(dimensionName).join(" and ");
  const shown = new Set(usage.groups.filter(({ by: values }) => !Object.values(values).includes(null)).map(({ by: values }) => JSON.stringify(told(values)))).size;
  const apart = shown < usage.values && `${count(shown)} of ${count(usage.values)}, the costliest; the rest together as “Other”`;
  const source = { days: "from sums of days", hours: "from sums of hours", runs: "from the runs themselves" }[usage.source];
  return el("header", {}, el("h2", {}, `By ${named.toLowerCase()}`), el("span", { class: "soft" }, [apart, source].filter(Boolean).join(" · ")));
}

/** A group's values of the dimensions that do not lie in time. */
function told(values) {
  return Object.entries(values).filter(([name]) => !(name in TIMES));
}

function csvView({ usage }, { by }) {
  const columns = [...by.map((dimension) => [dimension, (group) => group.by[dimension] ?? "Other"]), ...FIGURE_COLUMNS];
  return { name: `tallyrun-by-${by.join("-and-").replaceAll(":", "-")}`, columns, rows: usage.groups };
}

function nothing(page) {
  return emptyState("No runs here", "No run of these days passes the filters.", link(page.href("explore", spanOf(page)), "Without filters"));
}
