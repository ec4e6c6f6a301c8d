/** What lists and pages of batches say alike: states, progress, cost against quote and limit. */

import { badge } from "./dom.js";
import { cents, count, money } from "./format.js";
import { bar } from "./progress.js";

const KINDS = {
  completed: "good", failed: "bad", expired: "bad", paused: "warn", cancelling: "warn",
};

export const STATES = [
  "validating", "in_progress", "paused", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled",
];

/** A state in words. */
export const inWords = (state) => state.replace("_", " ");

export const stateBadge = (batch) => badge(inWords(batch.state), KINDS[batch.state]);

/** Whether its figures still change by themselves. */
export const moves = (batch) => ["validating", "in_progress", "finalizing", "cancelling"].includes(batch.state);

/** Whether it has ended, well or not. */
export const ended = (batch) => ["completed", "failed", "expired", "cancelled"].includes(batch.state);

/** Rows that have a result. */
export const done = (batch) => batch.succeeded + batch.failed + batch.expired + batch.cancelled;

/** Succeeded, failed and in flight as parts of all rows. */
export function progressBar(batch) {
  const unsuccessful = batch.failed + batch.expired;
  const label = [
    `${count(batch.succeeded)} of ${count(batch.rows)} rows succeeded`,
    `${count(unsuccessful)} failed or expired`,
    `${count(batch.cancelled)} cancelled`,
    `${count(batch.inFlight)} in flight`,
  ].join(", ");
  const parts = [
    { kind: "good", value: batch.succeeded },
    { kind: "bad", value: unsuccessful },
    { kind: "idle", value: batch.cancelled },
    { kind: "moving", value: batch.inFlight },
  ];
  return bar({ label, total: batch.rows, parts });
}

/** A range of money as exact as it is worth: its ends, or one amount where they read the same. */
export function range(low, high) {
  const [from, to] = [high >= 1 && low < 1 ? cents(low) : money(low), money(high)];
  return from === to ? from : `${from} – ${to}`;
}
