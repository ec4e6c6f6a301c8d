/** What the period's runs used and cost. */

import { el } from "../dom.js";

export const title = "Overview";

/** Show the period's figures. */
export async function show(root, page) {
  const overview = await page.api.get("/api/analytics/overview", { period: page.params.get("period") ?? "30d" });
  root.append(el("p", {}, String(overview.overview.totalRuns)));
}
