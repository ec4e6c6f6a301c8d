/** The costliest prompts. */

import { el, fill, link } from "../dom.js";
import { count, exactMoney, moment, money } from "../format.js";
import { table } from "../table.js";

const TOP = 10;

/**
 * The panel, asked for after everything else. Whole periods are `rolledUp`, from the sums of UTC days, with the prompts'
 * first words; days of one's own, and filters, are answered from the runs themselves.
 */
export function promptPanel(page, question, rolledUp) {
  const body = el("div", {}, el("p", { class: "loading" }, "Loading…"));
  const header = el("header", {}, el("h2", {}, "Costliest prompts"), link(page.href("explore", { ...question, by: "prompt" }), "Explore"));
  const root = el("section", { class: "panel" }, header, body);
  const update = async () => {
    try {
      const rows = await (rolledUp ? fromOverview(page, question) : fromUsage(page, question));
      fill(body, promptTable(page, question, rows, rolledUp && question.tz !== "UTC"));
    } catch (error) {
      if (error.name !== "AbortError") fill(body, el("p", { class: "bad" }, error.message));
    }
  };
  return { root, update };
}

async function fromOverview(page, { period }) {
  const { expensivePrompts } = await page.api.get("/api/analytics/overview", { period });
  return expensivePrompts.slice(0, TOP).map((row) => ({ ...row, cost: row.totalCost }));
}

async function fromUsage(page, question) {
  const { groups } = await page.api.get("/api/analytics/usage", { ...question, by: "prompt", top: TOP });
  const named = groups.filter(({ by }) => by.prompt);
  return named.map((group) => ({ ...group, promptId: group.by.prompt, preview: null, lastRun: null }));
}

function promptTable(page, question, rows, ofUtcDays) {
  const columns = [
    { title: "Prompt", wide: true, cell: (row) => named(page, question, row), sort: ({ promptId }) => promptId },
    { title: "Cost", number: true, cell: ({ cost }) => el("span", { title: exactMoney(cost) }, money(cost)), sort: ({ cost }) => Number(cost) },
    { title: "Runs", number: true, cell: ({ runs }) => count(runs), sort: ({ runs }) => runs },
    { title: "Per run", number: true, cell: ({ avgCost }) => money(avgCost), sort: ({ avgCost }) => Number(avgCost) },
    rows.some(({ lastRun }) => lastRun) && { title: "Last run", cell: ({ lastRun }) => moment(lastRun, question.tz), sort: ({ lastRun }) => lastRun },
  ].filter(Boolean);
  const caption = ofUtcDays ? "By days of UTC" : "The costliest first";
  return table({ id: "prompts", caption, columns, rows, empty: el("p", { class: "soft" }, "No run names a prompt: give runs a promptId to see what each costs.") });
}

function named(page, question, { promptId, preview }) {
  return [link(page.href("runs", { ...question, prompt: promptId }), promptId), preview && el("small", { class: "preview" }, preview)];
}
