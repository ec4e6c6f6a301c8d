/** Parts that are drawn anew while somebody looks at them, and say so when they stand still. */

import { el, fill } from "./dom.js";
import { timeOfDay } from "./format.js";

/** Fill a place again: what has the focus keeps it, and a table stays where it was scrolled to. */
export function redraw(place, ...children) {
  const focused = place.contains(document.activeElement) ? document.activeElement.id : "";
  const scrolled = place.querySelector(".scroll")?.scrollLeft ?? 0;
  fill(place, ...children);
  if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
  if (scrolled) place.querySelector(".scroll").scrollLeft = scrolled;
}

/** A place for the news that figures stand still: `watch(refresh)` refreshes them, and tells there if that fails. */
export function staleness() {
  const node = el("div", { role: "status", hidden: true });
  const watch = async (refresh) => {
    try {
      await refresh();
      node.hidden = true;
    } catch (error) {
      if (error.name === "AbortError") return;
      const since = node.hidden ? timeOfDay(Date.now()) : node.dataset.since;
      node.dataset.since = since;
      node.hidden = false;
      fill(node, el("p", { class: "stale" }, `As of ${since}. ${error.message} Trying again.`));
    }
  };
  return { node, watch };
}
