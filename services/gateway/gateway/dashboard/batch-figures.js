/** The figures of one batch: its bar, its counts, its money. */

import { done, progressBar, range } from "./batch-state.js";
import { el, link } from "./dom.js";
import { NONE, count, duration, money, moment, percent, timeOfDay } from "./format.js";
import { facts } from "./table.js";

/** What changes while it runs. */
export function figures(batch) {
  const part = batch.rows > 0 ? percent((done(batch) / batch.rows) * 100) : null;
  return el(
    "section",
    { class: "panel", "aria-label": "Progress" },
    progressBar(batch),
    el(
      "dl",
      { class: "cards" },
      card("Done", count(done(batch)), [`of ${count(batch.rows)} rows`, part]),
      card("Failed", count(batch.failed), otherwise(batch), batch.failed > 0),
      card("In flight", count(batch.inFlight), [`${count(batch.fed)} sent so far`]),
      card("Cost so far", money(batch.cost), costNotes(batch), overQuote(batch)),
      time(batch),
    ),
    batch.maxCost !== null && spending(batch),
    batch.readUpTo && el("p", { class: "hint" }, `What had ended by ${timeOfDay(batch.readUpTo)} is in these figures.`),
  );
}

/** How fast it goes and when it will be over; once it is, how long that took. */
function time(batch) {
  if (batch.endedAt) return card("Took", duration(since(batch.endedAt) - since(batch.startedAt ?? batch.createdAt)), []);
  return [
    card("Rate", batch.ratePerSecond > 0 ? `${count(batch.ratePerSecond)}/s` : NONE, ["rows that end"]),
    card("Time left", left(batch.secondsLeft), [`until ${moment(batch.deadline)} at the latest`]),
  ];
}

/** What does not change. */
export function properties(batch) {
  const labels = Object.entries(batch.labels).map(([name, value]) => `${name}=${value}`);
  return facts([
    ["Id", el("code", {}, batch.id)],
    ["Submitted", moment(batch.createdAt)],
    batch.startedAt && ["Started", moment(batch.startedAt)],
    batch.endedAt && ["Ended", moment(batch.endedAt)],
    ["Deadline", moment(batch.deadline)],
    ["Labels", labels.join(" ")],
    batch.retryOf && ["Rows of", link(`#batch?id=${batch.retryOf}`, batch.retryOf)],
    ["Input", file(batch.fileId)],
    batch.outputFileId && ["Answers as a file", file(batch.outputFileId)],
    batch.errorFileId && ["Errors as a file", file(batch.errorFileId)],
    ["Its runs", link(`#explore?batch=${batch.id}&by=model`, "explore their cost")],
  ]);
}

function card(name, value, notes, bad = false) {
  const said = notes.filter(Boolean).join(" · ");
  const shown = [el("dt", {}, name), el("dd", { class: bad ? "bad" : null }, value), said && el("dd", { class: "more" }, said)];
  return el("div", { class: "card" }, shown);
}

const otherwise = ({ expired, cancelled }) => [
  expired > 0 && `${count(expired)} expired`,
  cancelled > 0 && `${count(cancelled)} cancelled`,
];

function costNotes({ quote, maxCost, unpriced }) {
  return [
    quote && `quoted ${range(quote.low, quote.high)}`,
    quote?.unpricedRows > 0 && `without ${count(quote.unpricedRows)} unpriced rows`,
    maxCost !== null && `at most ${money(maxCost)}`,
    unpriced > 0 && `+ ${count(unpriced)} calls of unknown cost`,
  ];
}

const since = (time) => new Date(time).getTime();

const left = (seconds) => (seconds === null ? NONE : duration(seconds * 1000));

const overQuote = ({ cost, quote }) => quote !== null && Number(cost) > quote.high && quote.high > 0;

function spending({ cost, maxCost }) {
  const label = `${money(cost)} of at most ${money(maxCost)} spent`;
  const drawn = el("progress", { max: String(maxCost), value: Number(cost), "aria-label": label });
  return el("div", { class: "meter" }, drawn, el("span", { class: "hint" }, label));
}

const file = (id) => el("a", { href: `/v1/files/${id}/content`, download: `${id}.jsonl` }, "download");
