/** The period's figures, each beside that of the period before. */

import { card, changeOf, pointsOf } from "../change.js";
import { el, link } from "../dom.js";
import { compact, count, duration, exactMoney, money, percent } from "../format.js";

/** Return the cards of a usage answer with `totals` and `previous`. Each leads to the runs that it counts. */
export function cardsOf(page, question, { totals, previous }) {
  const runs = (text, more = {}) => link(page.href("runs", { ...question, ...more }), text);
  const before = (name, format) => changeOf(totals[name], previous?.[name], format);
  return [
    card("Cost", el("span", { title: exactMoney(totals.cost), "data-exact": totals.cost }, money(totals.cost)), before("cost", money)),
    unpriced(page, question, totals),
    card("Runs", runs(count(totals.runs)), before("runs", count)),
    success(runs, totals, previous),
    card("Tokens", el("span", { title: count(totals.totalTokens) }, compact(totals.totalTokens)), tokenKinds(totals)),
    card("Cost per run", money(totals.avgCost), totals.avgCost !== null && before("avgCost", money)),
    card("Mean latency", duration(totals.avgLatency), link(page.href("latency", question), "Percentiles and errors")),
    "cacheSavings" in totals && card("Saved by caches", money(totals.cacheSavings), `${compact(totals.cachedTokens)} tokens read from caches`),
    repeats(page, question, totals),
    rated(totals),
  ];
}

/** What has no price is in no cost: it stands beside it, as a figure of its own. */
function unpriced(page, question, totals) {
  const some = totals.unpricedRuns + (totals.unpricedRepeats ?? 0) > 0;
  if (!some) return card("Unpriced runs", count(0), "every run has a price");
  const runs = link(page.href("runs", { ...question, unpriced: "true" }), count(totals.unpricedRuns));
  const models = link(page.href("explore", { ...question, by: "model", measure: "unpricedRuns" }), "Which models?");
  return card("Unpriced runs", runs, el("dd", { class: "more warn" }, "not in the cost. ", models));
}

function success(runs, totals, previous) {
  const failed = totals.failed > 0 && el("dd", { class: "more" }, runs(`${count(totals.failed)} did not succeed`, { status: ["failed", "expired", "cancelled"] }));
  return card("Success", percent(totals.successRate), pointsOf(totals.successRate, previous?.successRate), failed);
}

function tokenKinds(totals) {
  const kinds = [
    ["in", totals.inputTokens],
    ["out", totals.outputTokens],
    ["cached", totals.cachedTokens],
    ["written to caches", totals.cacheWriteTokens],
    ["reasoning", totals.reasoningTokens],
  ];
  const some = kinds.filter(([, tokens]) => tokens > 0);
  return some.map(([kind, tokens]) => `${compact(tokens)} ${kind}`).join(" · ") || "none";
}

/** Executions after a run's first: they are in the cost, and could not be avoided. */
function repeats(page, question, { repeatedExecutions, repeatedCost, unpricedRepeats }) {
  if (!repeatedExecutions) return card("Repeats", count(0), "no run was carried out twice");
  const runs = link(page.href("runs", { ...question, repeated: "true" }), count(repeatedExecutions));
  return card("Repeats", runs, `${money(repeatedCost)} of the cost`, unpricedRepeats > 0 && `${count(unpricedRepeats)} of them unpriced`);
}

function rated(totals) {
  if (!totals.rated) return null;
  const score = totals.score !== null && totals.score !== undefined && `mean score ${Number(totals.score).toFixed(2)}`;
  return card("Rated good", percent(totals.outcomeRate), `${count(totals.rated)} runs were rated`, score);
}
