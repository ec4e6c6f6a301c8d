/** Figures that stay current: asked for again while they can be seen, and said to be old when that fails. */

import { el, fill } from "./dom.js";
import { timeOfDay } from "./format.js";

const SECONDS = 10;

/**
 * Ask with `load`, show with `render(answer)`, and again every few seconds. The first failure is the caller's; after a
 * later one the figures stay, and `root` gets a line that says how old they are.
 */
export async function live(page, root, zone, load, render) {
  const stale = el("div", { "aria-live": "polite" });
  root.append(stale);
  let at = null;
  const turn = async () => {
    const answer = await load();
    at = Date.now();
    fill(stale);
    render(answer);
  };
  await turn();
  page.every(SECONDS, async () => {
    try {
      await turn();
    } catch (error) {
      if (error.name === "AbortError") return;
      if (error.status === 401) return void page.again();
      const text = `${error.message} These figures are of ${timeOfDay(at, zone)}; this page keeps asking.`;
      fill(stale, el("p", { class: "stale" }, text));
    }
  });
}
