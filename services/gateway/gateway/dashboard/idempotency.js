/** Idempotency keys: what is sent twice under one is done once. */

/** The options of a request that may be sent again, with a key of its own; without https there is no `randomUUID`. */
export function once() {
  const digits = [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0"));
  return { headers: { "idempotency-key": `dashboard-${digits.join("")}` } };
}
