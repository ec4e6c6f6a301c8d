/** What the period's runs used and cost, beside the period before: cards, time, models, prompts. */

import { bucketOf, bucketsOf, daysOfBucket } from "../buckets.js";
import { completenessLine } from "../complete.js";
import { el, emptyState, fill, link } from "../dom.js";
import { filterControls, filtersOf } from "../filters.js";
import { live } from "../refresh.js";
import { daysBefore, periodControls, spanOf } from "../period.js";
import { exportMenu } from "../save.js";
import { cardsOf } from "../overview/cards.js";
import { overviewCharts, timeColumns } from "../overview/charts.js";
import { modelTable } from "../overview/models.js";
import { productPanel } from "../overview/product.js";
import { promptPanel } from "../overview/prompts.js";

const MODELS = 8;

export const title = "Overview";

/** Show the period's figures. */
export async function show(root, page) {
  const span = spanOf(page);
  const question = { ...span, ...filtersOf(page) };
  const [status, body] = [el("div", { class: "line" }), el("div", { class: "view" })];
  let latest = null;
  const view = () => ({ name: "tallyrun-overview", columns: timeColumns(latest.bucket), rows: latest.buckets });
  root.append(
    el("div", { class: "controls" }, periodControls(page), exportMenu({ question, view })),
    filterControls(page, span),
    status,
    body,
  );
  const parts = makeParts(page, question);
  await live(page, root, span.tz, loader(page, question), (answer) => {
    latest = answer;
    fill(status, completenessLine(page, answer.series, span.tz, question));
    const { runs } = answer.series.totals;
    if (!runs && !answer.series.previous?.runs && !answer.series.completeness?.accepted) return void fill(body, nothing(page));
    if (!parts.root.isConnected) fill(body, parts.root);
    parts.update(answer);
  });
}

/** Ask for everything the view needs; the period before is asked for once, until its days change. */
function loader(page, question) {
  const bucket = bucketOf(question);
  const usage = (more) => page.api.get("/api/analytics/usage", { ...question, ...more });
  let before = { start: null, answer: null };
  return async () => {
    const [series, models] = await Promise.all([usage({ by: bucket, compare: true }), usage({ by: "model", top: MODELS })]);
    if (before.start !== series.start) {
      const days = daysBefore(series.start, series.end);
      before = { start: series.start, answer: await usage({ ...days, period: null, by: bucket }) };
    }
    return { bucket, series, models, buckets: bucketsOf(series, bucket), earlier: bucketsOf(before.answer, bucket) };
  };
}

function makeParts(page, question) {
  const cards = el("dl", { class: "cards" });
  const pick = (bucket, key, zone) => page.go("runs", { ...question, ...daysOfBucket(key, bucket, zone) });
  const charts = overviewCharts(page, pick);
  const models = el("section", { class: "panel" });
  const rolledUp = Boolean(question.period) && !Object.keys(filtersOf(page)).length;
  const [prompts, product] = [promptPanel(page, question, rolledUp), productPanel(page, question, rolledUp)];
  const tables = el("div", { class: "columns" }, models, prompts.root);
  const root = el("div", { class: "view" }, [cards, charts.root, tables, product.root].filter(Boolean));
  const update = (answer) => {
    fill(cards, cardsOf(page, question, answer.series));
    fill(models, modelTable(page, question, answer.models));
    charts.update(answer);
    prompts.update();
    product.update();
  };
  return { root, update };
}

function nothing(page) {
  const filtered = Object.keys(filtersOf(page)).length > 0;
  if (filtered) return emptyState("No run passes these filters", "Take one out, or look at more days.", link(page.href("overview", spanOf(page)), "Without filters"));
  const text = "Connect a provider key and run a first prompt; its cost appears here within seconds.";
  return emptyState("No runs on these days", text, el("a", { class: "button primary", href: page.href("start") }, "Get started"));
}
