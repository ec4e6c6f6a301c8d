/** Every view: its address is `#name?parameters`, its module `views/name.js`; `role` is the least that may see it. */

const RANK = { viewer: 0, member: 1, admin: 2 };

/**
 * Views with a `title` are in the navigation; `owner` is the entry that stands for a view without one. `dated` ones show
 * the days and the time zone of their address, which go along from one to the next.
 */
export const VIEWS = {
  overview: { title: "Overview", role: "viewer", dated: true },
  explore: { title: "Explore", role: "viewer", dated: true },
  runs: { title: "Runs", role: "viewer", dated: true },
  run: { role: "viewer", owner: "runs" },
  latency: { title: "Latency", role: "viewer", dated: true },
  batches: { title: "Batches", role: "viewer" },
  batch: { role: "viewer", owner: "batches" },
  keys: { title: "Keys", role: "viewer" },
  tokens: { title: "Members", role: "admin" },
  grants: { title: "Grants", role: "admin" },
  rejected: { title: "Rejected", role: "operator" },
  start: { title: "Get started", role: "viewer" },
};

export const FIRST = "overview";

/** Whether the session's holder may see something that needs this role. */
export function may(me, role) {
  return role === "operator" ? me.operator : RANK[me.role] >= RANK[role];
}

/** Return the address of a view; `params` is an object (lists repeat the name, null is left out) or URLSearchParams. */
export function hrefOf(view, params = {}) {
  const pairs = params instanceof URLSearchParams ? [...params] : pairsOf(params);
  const query = new URLSearchParams(pairs).toString();
  return query ? `#${view}?${query}` : `#${view}`;
}

/** Return the parameters that go along to another dated view. */
export function daysIn(params) {
  return Object.fromEntries(["period", "from", "to", "tz"].map((name) => [name, params.get(name)]));
}

/** Return `{view, params}` of an address. */
export function parseHash(hash) {
  const [view, query = ""] = hash.replace(/^#/, "").split(/\?(.*)/s);
  return { view: view || FIRST, params: new URLSearchParams(query) };
}

function pairsOf(params) {
  const pairs = Object.entries(params).flatMap(([name, value]) => [value].flat().map((one) => [name, one]));
  return pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
}
