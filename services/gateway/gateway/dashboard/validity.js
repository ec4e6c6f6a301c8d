/** Until when something holds: as a choice of days, and as a state. */

import { badge } from "./dom.js";

/** The moment so many days ahead; null where none was chosen. */
export const ahead = (days) => (days ? new Date(Date.now() + Number(days) * 86_400_000).toISOString() : null);

/** Whether a thing with `expiresAt` and `revokedAt` holds now. */
export function stateOf({ expiresAt, revokedAt }) {
  if (revokedAt) return "revoked";
  return expiresAt && new Date(expiresAt) <= new Date() ? "expired" : "active";
}

export const validity = (state) => badge(state, state === "active" ? "good" : "");
