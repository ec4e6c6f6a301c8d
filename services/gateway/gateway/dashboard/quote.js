/** What a file's rows will cost: a range, what it rests on, and what is wrong with them. */

import { range } from "./batch-state.js";
import { badge, el } from "./dom.js";
import { compact, count } from "./format.js";
import { facts, table } from "./table.js";

/** The quote as `POST /api/batches/quote` answers it. */
export function quoteView(quote) {
  const tokens = (of) => compactRange(sum(quote.models, `${of}Low`), sum(quote.models, `${of}High`));
  return [
    el(
      "p",
      { class: "figure" },
      el("strong", {}, quote.rows > quote.unpricedRows || quote.rows === 0 ? range(quote.low, quote.high) : "No price known"),
      quote.unpricedRows > 0 && badge(`${count(quote.unpricedRows)} of ${count(quote.rows)} rows unpriced, and not in it`, "warn"),
    ),
    facts([
      ["Rows", count(quote.rows)],
      ["Tokens in", tokens("input")],
      ["Tokens out", tokens("output")],
    ]),
    quote.models.length > 0 && byModel(quote.models),
  ];
}

/** The lines that are wrong, counted from 1. */
export function faults(errors, caption) {
  return table({
    caption,
    rows: errors,
    columns: [
      { title: "Line", number: true, cell: (fault) => (fault.line === null ? "–" : count(fault.line)) },
      { title: "What is wrong", cell: (fault) => fault.message, wide: true },
      { title: "Field", cell: (fault) => fault.param && el("code", {}, fault.param) },
      { title: "Code", cell: (fault) => el("code", {}, fault.code) },
    ],
  });
}

function byModel(models) {
  return table({
    caption: "By model, with what the range rests on",
    rows: models,
    columns: [
      { title: "Model", cell: (one) => `${one.provider}/${one.model}` },
      { title: "Rows", number: true, cell: (one) => count(one.rows) },
      { title: "Tokens in", number: true, cell: (one) => compactRange(one.inputLow, one.inputHigh) },
      { title: "Tokens out", number: true, cell: (one) => compactRange(one.outputLow, one.outputHigh) },
      { title: "Cost", number: true, cell: (one) => (one.low === null ? badge("unpriced", "warn") : range(one.low, one.high)) },
      { title: "Rests on", cell: (one) => one.basis, wide: true },
    ],
  });
}

const sum = (models, name) => models.reduce((total, one) => total + one[name], 0);

function compactRange(low, high) {
  const [from, to] = [compact(low), compact(high)];
  return from === to ? from : `${from} – ${to}`;
}
