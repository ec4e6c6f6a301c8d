/** What each model used and cost. */

import { el, link } from "../dom.js";
import { count, exactMoney, money, percent } from "../format.js";
import { table } from "../table.js";

/** The models of a usage answer, the costliest first, and how many are not told apart. */
export function modelTable(page, question, answer) {
  const total = Number(answer.totals.cost);
  const runs = ({ by }) => (by.model === null ? "Other" : link(page.href("runs", { ...question, model: by.model }), by.model || "(none)"));
  const columns = [
    { title: "Model", cell: runs, sort: ({ by }) => by.model ?? "" },
    { title: "Cost", number: true, cell: (group) => el("span", { title: exactMoney(group.cost) }, money(group.cost)), sort: ({ cost }) => Number(cost) },
    { title: "Share", number: true, cell: ({ cost }) => share(Number(cost), total) },
    { title: "Unpriced", number: true, cell: ({ unpricedRuns }) => (unpricedRuns ? el("span", { class: "warn" }, count(unpricedRuns)) : "0"), sort: ({ unpricedRuns }) => unpricedRuns },
    { title: "Runs", number: true, cell: (group) => count(group.runs), sort: (group) => group.runs },
    { title: "Success", number: true, cell: (group) => percent(group.successRate), sort: (group) => group.successRate },
    { title: "Tokens", number: true, cell: (group) => count(group.totalTokens), sort: (group) => group.totalTokens },
  ];
  const shown = answer.groups.filter(({ by }) => by.model !== null).length;
  const caption = shown < answer.values ? `${shown} of ${count(answer.values)} models, the costliest` : "All models";
  return [
    el("header", {}, el("h2", {}, "Models"), link(page.href("explore", { ...question, by: "model" }), "Explore")),
    table({ id: "models", caption, columns, rows: answer.groups, empty: "No model ran." }),
  ];
}

function share(cost, total) {
  if (!total) return "–";
  const bar = el("span", { class: "share", "aria-hidden": "true" }, el("span"));
  bar.firstChild.style.width = `${(cost / total) * 100}%`;
  return el("span", { class: "shared" }, bar, percent((cost / total) * 100));
}
