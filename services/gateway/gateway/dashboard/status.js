/** How runs end, in words and colours. */

import { badge } from "./dom.js";

const KINDS = { succeeded: "good", failed: "bad", expired: "bad", cancelled: "warn", accepted: "" };
const WORDS = { accepted: "in flight" };

/** A run's status as a badge. */
export const statusBadge = (status) => badge(WORDS[status] ?? status, KINDS[status] ?? "");
