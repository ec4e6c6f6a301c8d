/** Steering a batch: pause, resume, cancel, and run again what did not succeed. */

import { confirmed, dialog } from "./dialog.js";
import { button, el, field } from "./dom.js";
import { act, form, input } from "./form.js";
import { count } from "./format.js";
import { once } from "./idempotency.js";
import { may } from "./navigation.js";

const CANCELLABLE = ["validating", "in_progress", "paused"];
const RETRYABLE = ["completed", "expired", "cancelled"];

/** The buttons that its state allows; `refresh` draws it anew. */
export function batchActions(batch, page, path, refresh) {
  if (!may(page.me, "member")) return null;
  const again = ["failed", "expired", "cancelled"].filter((kind) => batch[kind] > 0);
  const steer = (verb) => () => page.api.post(`${path}/${verb}`).then(refresh);
  const offered = {
    pause: batch.state === "in_progress",
    resume: batch.state === "paused",
    cancel: CANCELLABLE.includes(batch.state),
    retry: RETRYABLE.includes(batch.state) && again.length > 0,
  };
  return el(
    "div",
    { class: "actions" },
    offered.pause && act(page, "Pause", "Pausing…", steer("pause"), { id: "pause" }),
    offered.resume && act(page, "Resume", "Resuming…", steer("resume"), { id: "resume", class: "primary" }),
    offered.cancel && act(page, "Cancel", "Cancelling…", steer("cancel"), { id: "cancel", class: "danger" }, confirmCancel),
    offered.retry && button("Run again…", () => runAgain(batch, again, page, path), { id: "retry", class: "primary" }),
  );
}

function confirmCancel() {
  const text =
    "Within a second nothing more is sent. Calls under way finish and are paid; rows that were not called end as " +
    "cancelled and cost nothing. It cannot be resumed.";
  return confirmed({ title: "Cancel this batch?", text, action: "Cancel the batch" });
}

async function runAgain(batch, kinds, page, path) {
  const options = once();
  const made = await dialog("Run these rows again", (close) => {
    const choices = kinds.map((kind) => choice(kind, batch[kind], kind !== "cancelled" || kinds.length === 1));
    const limit = input({ type: "number", min: "0.000001", step: "any", inputmode: "decimal", placeholder: "no limit" });
    const submit = async () => {
      const only = choices.filter(({ box }) => box.checked).map(({ kind }) => kind);
      if (only.length === 0) throw new Error("Choose which rows.");
      close(await page.api.post(`${path}/retry`, { only, maxCost: limit.value || null }, options));
    };
    const rows = [
      el("fieldset", {}, el("legend", {}, "Rows that"), choices.map(({ node }) => node)),
      field("Most they may cost, in US dollars (optional)", limit, "The limit of the first batch does not hold for these."),
    ];
    return form({ rows, action: "Run again", busy: "Submitting…", submit, beside: button("Cancel", () => close()) });
  });
  if (made) page.go("batch", { id: made.id });
}

function choice(kind, rows, checked) {
  const box = el("input", { type: "checkbox", checked, id: `again-${kind}` });
  const said = kind === "failed" ? "failed" : kind === "expired" ? "expired" : "were cancelled";
  return { kind, box, node: el("label", { class: "check", for: box.id }, box, `${said} (${count(rows)})`) };
}
