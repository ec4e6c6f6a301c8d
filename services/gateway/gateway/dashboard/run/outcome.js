/** What became of a run's answer, as those who used it say. */

import { badge, button, el, field, fill } from "../dom.js";
import { moment } from "../format.js";
import { may } from "../navigation.js";

const NOTE_CHARACTERS = 2000;

/** The panel: what was said, and for members a form to say it, in place of what was said before. */
export function outcomePanel(page, zone, run) {
  const said = el("div", { class: "actions", id: "outcome" });
  const root = el("section", { class: "panel" }, el("header", {}, el("h2", {}, "Was the answer good?")), said);
  fill(said, shown(run.outcome ?? null, zone));
  if (may(page.me, "member")) root.append(form(page, run, (outcome) => fill(said, shown(outcome, zone))));
  return root;
}

function shown(outcome, zone) {
  if (!outcome) return el("span", { class: "soft" }, "Nobody has said so far.");
  const verdict = outcome.success === null ? null : badge(outcome.success ? "good" : "bad", outcome.success ? "good" : "bad");
  const score = outcome.score !== null && el("span", {}, `Score ${outcome.score}`);
  return [verdict, score, outcome.note && el("q", {}, outcome.note), el("small", {}, moment(outcome.recordedAt, zone))];
}

function form(page, run, recorded) {
  const note = el("textarea", { id: "note", maxlength: NOTE_CHARACTERS, rows: 2 });
  note.value = run.outcome?.note ?? "";
  const say = (success) => async () => {
    try {
      const body = { success, ...(note.value.trim() && { note: note.value.trim() }) };
      recorded(await page.api.post(`/api/runs/${encodeURIComponent(run.runId)}/outcome`, body));
      page.say("Recorded.");
    } catch (error) {
      if (error.name !== "AbortError") page.say(error.message, "bad");
    }
  };
  const buttons = [button("Good", say(true), { id: "rate-good" }), button("Bad", say(false), { id: "rate-bad" })];
  return el("div", { class: "form" }, field("Note (optional)", note), el("div", { class: "actions" }, buttons));
}
